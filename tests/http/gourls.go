// Reads URLs, each a line of base64, and says what net/url makes of them: by themselves, and as a reference from a
// base. "error", or scheme, host, port and whether there is user information.
package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
)

func say(u *url.URL, err error) string {
	if err != nil {
		return "error"
	}
	return fmt.Sprintf("%s %s %s %v", u.Scheme, u.Hostname(), u.Port(), u.User != nil)
}

func main() {
	base, _ := url.Parse(os.Args[1])
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(make([]byte, 1<<20), 1<<20)
	for in.Scan() {
		text, _ := base64.StdEncoding.DecodeString(in.Text())
		alone, err := url.Parse(string(text))
		joined, err2 := base.Parse(string(text))
		fmt.Printf("%s\t%s\n", say(alone, err), say(joined, err2))
	}
}
