// Golist answers each archive on its standard input (eight bytes of length, big endian, then the archive) with one
// line of JSON: what Go's archive/tar says is in it. Bytes are base64, as encoding/json writes them.
package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"os"
	"strings"
)

type member struct {
	Type    int
	Name    []byte
	Link    []byte
	Mode    int64
	Uid     int
	Gid     int
	Seconds int64
	Nanos   int
	Size    int64
	Offset  int
	Major   int64
	Minor   int64
	Xattrs  map[string][]byte
	Sparse  bool
}

type listing struct {
	Members []member
	Error   string
}

// onlyReader hides Seek, so that the position is where the reader is.
type onlyReader struct{ io.Reader }

func list(archive []byte) listing {
	buffer := bytes.NewReader(archive)
	reader := tar.NewReader(onlyReader{buffer})
	result := listing{Members: []member{}}
	for {
		header, err := reader.Next()
		if err == io.EOF {
			return result
		}
		if err != nil {
			result.Error = err.Error()
			return result
		}
		if header.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		xattrs := map[string][]byte{}
		sparse := header.Typeflag == tar.TypeGNUSparse
		for key, value := range header.PAXRecords {
			if strings.HasPrefix(key, "SCHILY.xattr.") {
				xattrs[strings.TrimPrefix(key, "SCHILY.xattr.")] = []byte(value)
			}
			sparse = sparse || strings.HasPrefix(key, "GNU.sparse.")
		}
		result.Members = append(result.Members, member{
			Type: int(header.Typeflag), Name: []byte(header.Name), Link: []byte(header.Linkname),
			Mode: header.Mode, Uid: header.Uid, Gid: header.Gid,
			Seconds: header.ModTime.Unix(), Nanos: header.ModTime.Nanosecond(),
			Size: header.Size, Offset: len(archive) - buffer.Len(),
			Major: header.Devmajor, Minor: header.Devminor, Xattrs: xattrs, Sparse: sparse,
		})
	}
}

func main() {
	input := bufio.NewReader(os.Stdin)
	output := json.NewEncoder(os.Stdout)
	for {
		var size uint64
		if binary.Read(input, binary.BigEndian, &size) != nil {
			return
		}
		archive := make([]byte, size)
		if _, err := io.ReadFull(input, archive); err != nil {
			return
		}
		if output.Encode(list(archive)) != nil {
			return
		}
	}
}
