"""The layers that Docker's own tests have sums for, made anew (moby v1.3.0, pkg/tarsum/testdata, Apache-2.0).

Only the headers' fields, the JSON and the one file with something in it are theirs.
"""

from __future__ import annotations

import base64
import lzma

from tests.support.tars import END, GNU, header, pad, pax

_TIME = 1396838750
# etc/sudoers of Fedora
_SUDOERS = lzma.decompress(
    base64.b85decode(
        "T>t<81poj4|NsC0{{Ru-e5Q3Ui=*&;`vzSoOYDW0$>ByEs;~3$WAH|6_G2apq~lU3I@iF)j1>z|zCp}1PGiI{e;n<#dj($URw<S_o{9{kacx"
        "^7L)2|aFLk&Aea`;Ne*R@9*vnVp64^)Jb5N{j<uK%(JG;T!n)sg&w%)sTzd`0py7xOpzubmSmfC1dXckZYyhTB@>~Yrz;b}?j;BN)VHJRf}E"
        "X`8@HeotQqvf?v;-=_X-we{xQa|?+hOq8F4#;SMR{kP^F0MF&bVF)Cfg{u~iFUE$)WENTpwg<;#r)M~VSwx>Tdtf7q&fZq9iWkW#AYnvOAI;"
        "k!TXpqL1t@corgqh>fWdk5epT?3-=3br&53I+px-oygRSFC4X)kM!0kLQo+{A{4GZV*?864%4Ta8djmU-Z4^cYqPcdN8T*JFuU}vwige6>-J"
        "D~GcDI!0E&!4mJkMCZ<fF2MbN}V|Z%Rlham&@{&3MZfDwMq_bOJs&Y;Ru~GTjVrcQ@Hw&M_*A3b{m*k-lrZcY%1urhY>$w;i%k7qF?RkJ;GR"
        "_s<FPd0(wTYqZwShz*}}{{Z8z_pn9u@5;mvyjN0~tn<0|ZunGN_eOY9XL<yp;u`sO;VZ5CIILQdo6AiJ#!PxEi+Br&a{M$T9d<};=XCHl#!N"
        "wU?_>+y?ZYSm84kr8{th?Qq2>C~c0?qq-*PDR|9JGi%+lWfB>VN?gj?XerI)xbF(p5^#QlE{&P3b4Wyo#oRkf6E%qb?ID;g}fc>xA0kviJ}Z"
        "6;VbQ!tzd9Bs``rxN5Etzo0m(7t<D^`(~=o2C7V+{vWNc_NYyENaCVlaDK_w>?#Zui?*nNr>*hp|XAf*LSB;dr4pOfR5upuls8|oyo~xea~2"
        "H5QNL#VT?y+hLL`9$P=Pakp$U=<A-tlcHwT!aPCQN7lK3v(Y2aOElruY9wX^pcA+uoGTVzQ3vOt2Wfy;$PYJUA$gw(<n2qT8xsop<7R7g0yp"
        "s?*j!}wI>Z8m8!7Z(@kXC|O8ZP%x&xOe7d#yGOp_B}f;nc131TS!*Od%`@egfghy}+Z|L>M}A@5Z7sg`ET?58|4-F4zwn_rIW}j132{i_A9t"
        "vA+_+rU2@<gs;;74e(4ETEW96)HJ;UDk-@8k_*MWQ?_8|q34s~Eb|G9tADFq4_3!X{kdWMFp}6ZJd18xt6G2GrWYsBI77yJ{0{Ff_Ra{q5fc"
        "8D(L=*7Yb#uh2!jQH5q`gvqm3gdUXB@b7z%RrjqF+)Nj%V74xLs`k7}ka)||Y6A3YXL;zo(Yt^g?Et#bR~hwVyjRtB!rabV~6WJO4^a>eyrQ"
        "mn}PKN{)QWJKQ)|J5Rf2pSGfeIZD6$7j$9m2t06#`+w`v-nC=c|Jkj7Qoa7C#in(#f%1jk8&-x-pH*@RLhF!0WxdGdDbk?l2u2&xMPe)5Lyf"
        "CmFTZzV285-bS1a1ju&-Q*4>EansKzn1AH6fHnI}&2R<-UZ^iP6N|3aJx*OD5jp=dNm9_1n6aKfMoBuX1dF;OI?W}W^R?O8V9JG~!*w+B`<I"
        "LU~K_EdOKhC3NHupBOUujw@eTalF%T=%$97ptQFQq3aCh{vABq&d6JZBRyYLZYH2!CbSiUD;WRd~{<cag@12H_5Txk6~4Mt2R#p(kB3aXm{n"
        "OPtP9f?2t~)(l4XWf%MzUXXJ)$IklHBm)cKb*mxyetLMV3HS623pBIQ@-Drq6COZ@t&ef|o19s(o%VoIm;IXAEP@$oF}1!E6RYtSodX!8!TO"
        "@K=$srjTT>#*1&N;pe0B3BF`q5&x(DeT*!3$mz@~!$X=<qLoDM%PAo4rrlnaXpY8x!H*b@E^g&>VEVo_09Pv{A-LWm@jUHM(0lMVL4O+tr+O"
        "JLkLrFnNJSVCsq|A|g-|D*9k^_~ed{Mb%71>ttF3E>npeLch-2}IBoY%sgKaW)eMD`HTOGANMsaW*U;b7l~fRkSB{n{R;=8Y0PyRYJ>uP)6Q"
        "540Zh78>gBscbnOVnY0>-YTAKp*6-VV68=nL9s"
    )
)
SUDOERS_JSON = (
    b'{"id":"46af0962ab5afeb5ce6740d4d91652e69206fc991fd5328c1a94d364ad00e457","parent":"def3f9165934325dfd027'
    b'c86530b2ea49bb57a0963eb1336b3a0415ff6fd56de","created":"2014-04-07T02:45:52.610504484Z","container":"e0f'
    b'07f8d72cae171a3dcc35859960e7e956e0628bce6fedc4122bf55b2c287c7","container_config":{"Hostname":"88807319f'
    b'25e","Domainname":"","User":"","Memory":0,"MemorySwap":0,"CpuShares":0,"AttachStdin":false,"AttachStdout'
    b'":false,"AttachStderr":false,"PortSpecs":null,"ExposedPorts":null,"Tty":false,"OpenStdin":false,"StdinOn'
    b'ce":false,"Env":["HOME=/","PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Cmd":["/'
    b'bin/sh","-c","sed -ri \'s/^(%wheel.*)(ALL)$/\\\\1NOPASSWD: \\\\2/\' /etc/sudoers"],"Image":"def3f9165934325dfd'
    b'027c86530b2ea49bb57a0963eb1336b3a0415ff6fd56de","Volumes":null,"WorkingDir":"","Entrypoint":null,"Networ'
    b'kDisabled":false,"OnBuild":[]},"docker_version":"0.9.1-dev","config":{"Hostname":"88807319f25e","Domainn'
    b'ame":"","User":"","Memory":0,"MemorySwap":0,"CpuShares":0,"AttachStdin":false,"AttachStdout":false,"Atta'
    b'chStderr":false,"PortSpecs":null,"ExposedPorts":null,"Tty":false,"OpenStdin":false,"StdinOnce":false,"En'
    b'v":["HOME=/","PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Cmd":null,"Image":"de'
    b'f3f9165934325dfd027c86530b2ea49bb57a0963eb1336b3a0415ff6fd56de","Volumes":null,"WorkingDir":"","Entrypoi'
    b'nt":null,"NetworkDisabled":false,"OnBuild":[]},"architecture":"amd64","os":"linux","Size":3425}'
)
BASE_JSON = (
    b'{"id":"511136ea3c5a64f264b78b5433614aec563103b4d4702f3ba7d4d2698e22c158","comment":"Imported from -","cr'
    b'eated":"2013-06-13T14:03:50.821769-07:00","container_config":{"Hostname":"","Domainname":"","User":"","M'
    b'emory":0,"MemorySwap":0,"CpuShares":0,"AttachStdin":false,"AttachStdout":false,"AttachStderr":false,"Por'
    b'tSpecs":null,"ExposedPorts":null,"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":null,"Cmd":null,"'
    b'Image":"","Volumes":null,"WorkingDir":"","Entrypoint":null,"NetworkDisabled":false,"OnBuild":null},"dock'
    b'er_version":"0.4.0","architecture":"x86_64","Size":0}'
)
XATTR_JSON = (
    b'{"id":"4439c3c7f847954100b42b267e7e5529cac1d6934db082f65795c5ca2e594d93","parent":"73b164f4437db87e96e90'
    b'083c73a6592f549646ae2ec00ed33c6b9b49a5c4470","created":"2014-05-16T17:19:44.091534414Z","container":"5f9'
    b'2fb06cc58f357f0cde41394e2bbbb664e663974b2ac1693ab07b7a306749b","container_config":{"Hostname":"9565c6517'
    b'a0e","Domainname":"","User":"","Memory":0,"MemorySwap":0,"CpuShares":0,"Cpuset":"","AttachStdin":false,"'
    b'AttachStdout":false,"AttachStderr":false,"PortSpecs":null,"ExposedPorts":null,"Tty":false,"OpenStdin":fa'
    b'lse,"StdinOnce":false,"Env":["HOME=/","PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
    b'"],"Cmd":["/bin/sh","-c","setcap \'cap_setgid,cap_setuid+ep\' ./file \\u0026\\u0026 getcap ./file"],"Image":'
    b'"73b164f4437db87e96e90083c73a6592f549646ae2ec00ed33c6b9b49a5c4470","Volumes":null,"WorkingDir":"","Entry'
    b'point":null,"NetworkDisabled":false,"OnBuild":[]},"docker_version":"0.11.1-dev","config":{"Hostname":"95'
    b'65c6517a0e","Domainname":"","User":"","Memory":0,"MemorySwap":0,"CpuShares":0,"Cpuset":"","AttachStdin":'
    b'false,"AttachStdout":false,"AttachStderr":false,"PortSpecs":null,"ExposedPorts":null,"Tty":false,"OpenSt'
    b'din":false,"StdinOnce":false,"Env":["HOME=/","PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sb'
    b'in:/bin"],"Cmd":null,"Image":"73b164f4437db87e96e90083c73a6592f549646ae2ec00ed33c6b9b49a5c4470","Volumes'
    b'":null,"WorkingDir":"","Entrypoint":null,"NetworkDisabled":false,"OnBuild":[]},"architecture":"amd64","o'
    b's":"linux","Size":0}'
)


def sudoers_layer() -> bytes:
    """46af0962...: directories, links and one file, with the type in their modes as Docker wrote them then."""
    links = {
        "core": "/proc/kcore",
        "stderr": "/proc/self/fd/2",
        "stdout": "/proc/self/fd/1",
        "fd": "/proc/self/fd",
        "ptmx": "pts/ptmx",
        "stdin": "/proc/self/fd/0",
    }
    members = [header("dev/", b"5", mode=0o40755, mtime=_TIME)]
    members += [header(f"dev/{name}", b"2", mode=0o120777, mtime=_TIME, link=target) for name, target in links.items()]
    members.append(header("etc/", b"5", mode=0o40755, mtime=_TIME))
    members.append(header("etc/sudoers", mode=0o100440, mtime=_TIME, size=len(_SUDOERS)) + pad(_SUDOERS))
    return b"".join(members) + END


def base_layer() -> bytes:
    """511136ea..., the layer that nearly all images of the time began with."""
    return header("./", b"5", mode=0o40755, mtime=1371157405) + END


def xattr_layer() -> bytes:
    """A file with a capability."""
    capability = b"\x01\0\0\x02\xc0" + bytes(15)
    return pax({"SCHILY.xattr.security.capability": capability}) + header("file", mode=0o100644, mtime=1400260726) + END


def collision_layer(*which: int) -> bytes:
    """Up to two files of one name; which of the two, in which order."""
    files = ((1409861938, b"farts\n"), (1409861993, b"HOWDY\n"))
    members = [
        header(
            "file",
            mode=0o644,
            uid=1000,
            gid=1000,
            mtime=files[one][0],
            size=6,
            magic=GNU,
            uname=b"vbatts",
            gname=b"vbatts",
        )
        + pad(files[one][1])
        for one in which
    ]
    return b"".join(members) + END


def sized_layer() -> bytes:
    """One file of 1 MiB, without a type, as old tars have it."""
    return header("/testdata0", b"\0", mode=0o755, size=1 << 20) + bytes(1 << 20) + END
