// A proxy that lets every byte arrive later: delay MILLISECONDS LISTEN TARGET. The kernel's own way (netem) is not
// everywhere, and a proxy in Python would be what is measured.
package main

import (
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"time"
)

type piece struct {
	due  time.Time
	data []byte
}

// pipe carries bytes one way; what comes in meanwhile is under way too, so only latency grows.
func pipe(from, to *net.TCPConn, wait time.Duration) {
	line := make(chan piece, 4096)
	go func() {
		defer close(line)
		for {
			data := make([]byte, 64*1024)
			count, err := from.Read(data)
			if count > 0 {
				line <- piece{time.Now().Add(wait), data[:count]}
			}
			if err != nil {
				if err != io.EOF {
					to.Close()
				}
				return
			}
		}
	}()
	for part := range line {
		time.Sleep(time.Until(part.due))
		if _, err := to.Write(part.data); err != nil {
			from.Close()
			return
		}
	}
	to.CloseWrite()
}

func main() {
	millis, err := strconv.Atoi(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	wait := time.Duration(millis) * time.Millisecond
	listener, err := net.Listen("tcp", os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			// A handshake costs a round trip too.
			time.Sleep(2 * wait)
			server, err := net.Dial("tcp", os.Args[3])
			if err != nil {
				client.Close()
				return
			}
			go pipe(client.(*net.TCPConn), server.(*net.TCPConn), wait)
			pipe(server.(*net.TCPConn), client.(*net.TCPConn), wait)
		}()
	}
}
