// SPDX-License-Identifier: Apache-2.0

// The same page by net/http and over a connection of its own: client HOST PORT [proxied]
// Go makes its own system calls, and with GODEBUG=netdns=go asks name servers itself. "proxied": net/http alone, which takes
// the proxy that its environment names.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

const patience = 20 * time.Second

func byHTTP(place string) (string, error) {
	client := http.Client{Timeout: patience}
	answer, err := client.Get("http://" + place + "/")
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	page, err := io.ReadAll(answer.Body)
	return string(page), err
}

func byDial(place string) (string, error) {
	connection, err := net.DialTimeout("tcp", place, patience)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	_, port, _ := net.SplitHostPort(place)
	if _, remote, _ := net.SplitHostPort(connection.RemoteAddr().String()); remote != port {
		return "", fmt.Errorf("connected to %v", connection.RemoteAddr())
	}
	fmt.Fprintf(connection, "GET / HTTP/1.0\r\nHost: %s\r\n\r\n", place)
	// The end of its half, as it is carried to the server.
	if err := connection.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	whole, err := io.ReadAll(connection)
	_, page, _ := strings.Cut(string(whole), "\r\n\r\n")
	return page, err
}

func main() {
	place := net.JoinHostPort(os.Args[1], os.Args[2])
	ways := []func(string) (string, error){byHTTP, byDial}
	if len(os.Args) > 3 {
		ways = ways[:1]
	}
	for _, way := range ways {
		page, err := way(place)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("page:", strings.TrimSpace(page))
	}
}
