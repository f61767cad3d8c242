package e2e

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cookiesession/internal/testkit"
)

// hostile is what a connection sends, to take as much memory as it can, and how many such
// streams it opens. Each part is sent as soon as the server takes it.
type hostile struct {
	name    string
	streams int      // 0 over HTTP/1.1, else at most
	method  string   // POST if it is empty
	header  []string // names and values by turns
	ends    bool     // the header does
	body    string
	whole   bool // the body is
	least   int  // MiB that it takes, or it was no attack
	most    int  // MiB, if it is less than what deploy/ allows
}

// mostStreams bounds what the test itself does, should the server allow more.
const mostStreams = 40

// TestMemoryUnderAttack has 64 connections hold back as much as they can, in each way that
// was found to cost most. The program stays within the least memory that deploy/ gives it.
func TestMemoryUnderAttack(t *testing.T) {
	slow(t)
	const connections = 64
	deployed := read(t, "deploy/kubernetes.yaml")
	goLimit := regexp.MustCompile(`GOMEMLIMIT, value: (\d+MiB)`).FindStringSubmatch(deployed)[1]
	most, _ := strconv.Atoi(
		regexp.MustCompile(`limits: \{memory: (\d+)Mi\}`).FindStringSubmatch(deployed)[1])
	many := func(n int, name, value string) (all []string) {
		for i := range n {
			all = append(all, strings.ReplaceAll(name, "#", strconv.FormatInt(int64(i), 36)), value)
		}
		return all
	}
	form := "name=" + strings.Repeat("x", 60<<10)
	fields := ""
	for i := range 9990 {
		fields += fmt.Sprintf("&%x", i)
	}
	for _, tt := range []hostile{
		{name: "tiny fields", header: many(11600, "#", ""), least: 60},
		{name: "one long field", header: many(1, "x", strings.Repeat("x", 67<<10)), least: 20},
		{name: "bodies", header: many(1, "x", strings.Repeat("x", 35<<10)), ends: true,
			body: form, least: 20},
		{name: "streams with bodies", streams: mostStreams, ends: true, body: form, least: 60,
			header: many(17, "cookie", strings.Repeat("x", 2000))},
		{name: "streams with answers", streams: mostStreams, ends: true, whole: true, least: 50,
			body: "name=" + strings.Repeat(`"`, 60<<10)},
		{name: "streams with forms of many fields", streams: mostStreams, ends: true, whole: true,
			body: fields, least: 80},
		{name: "streams with bodies that nobody reads", method: "GET", streams: mostStreams,
			ends: true, body: strings.Repeat("x", 125<<10), least: 40, most: 100,
			header: many(17, "cookie", strings.Repeat("x", 2000))},
		{name: "streams with large headers", streams: mostStreams, ends: true, least: 40,
			header: many(1700, "#", "")},
		{name: "a header that doesn't end", streams: 1, header: many(1700, "#", ""), least: 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cert, key, _ := testkit.NewCertificate(t)
			p := testkit.Start(t, testkit.Environ(exec.Command(mustBuild(t, plainFile),
				"-addr", "localhost:0", "-tls-cert", cert, "-tls-key", key),
				environ{keysVariable: keyA, "GOMEMLIMIT": goLimit}))
			var sent sync.WaitGroup
			for range connections {
				protocol := map[bool]string{true: "http/1.1", false: "h2"}[tt.streams == 0]
				conn := dialTLS(t, p.URL, protocol)
				sent.Go(func() { tt.attack(conn) })
			}
			sent.Wait()
			// It has taken all of it once it is idle.
			process, last, calm := fmt.Sprintf("/proc/%d/", p.Cmd.Process.Pid), "", 0
			testkit.AwaitTrue(t, "the program to be idle", func() bool {
				took := strings.Fields(testkit.ReadFile(t, process+"stat"))[13] // in user mode
				if calm++; took != last {
					last, calm = took, 0
				}
				return calm == 10
			})
			askHTTP1(t, p.URL, nil) // and it still answers
			status := testkit.ReadFile(t, process+"status")
			peak := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindStringSubmatch(status)
			kib, _ := strconv.Atoi(peak[1])
			t.Logf("got %d MiB", kib>>10)
			if most := cmp.Or(tt.most, most); kib>>10 < tt.least || kib>>10 > most {
				t.Errorf("got %d MiB at the most, want between %d and %d", kib>>10, tt.least, most)
			}
		})
	}
}

// attack sends what there is to send.
func (h hostile) attack(conn net.Conn) {
	const kind = "application/x-www-form-urlencoded"
	announced := len(h.body) + 1
	if h.whole {
		announced--
	}
	if h.streams == 0 {
		var b bytes.Buffer
		fmt.Fprintf(&b, "POST /set_name HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\n", kind)
		fmt.Fprintf(&b, "Content-Length: %d\r\n", announced)
		for i := 0; i < len(h.header); i += 2 {
			fmt.Fprintf(&b, "%s:%s\r\n", h.header[i], h.header[i+1])
		}
		if h.ends {
			b.WriteString("\r\n" + h.body)
		}
		conn.Write(b.Bytes())
		return
	}
	// It takes nothing of an answer (4 is the setting), and what the server offers.
	io.WriteString(conn, testkit.HTTP2Preface)
	conn.Write(testkit.HTTP2Frame(testkit.HTTP2Settings, 0, 0, []byte{0, 4, 0, 0, 0, 0}))
	_, _, settings, _ := testkit.ReadHTTP2Frame(conn)
	offered := make(map[byte]int)
	for ; len(settings) > 0; settings = settings[6:] {
		offered[settings[1]] = int(binary.BigEndian.Uint32(settings[2:]))
	}
	conn.Write(testkit.HTTP2Frame(99, 0, 0, make([]byte, offered[5]))) // the largest
	// What more the server takes on the connection.
	window := make(chan int, 1000)
	go func() {
		defer close(window)
		for {
			kind, stream, payload, err := testkit.ReadHTTP2Frame(conn)
			if err != nil {
				return
			}
			if kind == testkit.HTTP2Window && stream == 0 {
				window <- int(binary.BigEndian.Uint32(payload))
			}
		}
	}()
	var flags byte
	if h.ends {
		flags = 4
	}
	block := testkit.HTTP2Fields(append([]string{
		":method", cmp.Or(h.method, "POST"), ":scheme", "https", ":authority", "x",
		":path", "/set_name", "accept", testkit.Browser,
		"content-type", kind, "content-length", strconv.Itoa(announced),
	}, h.header...)...)
	free := 65535
	for i := range min(h.streams, offered[3]) {
		stream := uint32(2*i + 1)
		conn.Write(testkit.HTTP2Header(stream, flags, block))
		for left := []byte(h.body); len(left) > 0; {
			n := min(len(left), 16<<10)
			for free < n {
				select {
				case more, ok := <-window:
					if !ok {
						return
					}
					free += more
				case <-time.After(time.Second): // nobody reads
					return
				}
			}
			var end byte
			if h.whole && n == len(left) {
				end = 1
			}
			conn.Write(testkit.HTTP2Frame(testkit.HTTP2Data, end, stream, left[:n]))
			left, free = left[n:], free-n
		}
	}
}
