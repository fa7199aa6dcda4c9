// SPDX-License-Identifier: Apache-2.0

extension MatrixProgram {
    /// The rows of the matrix.
    static let all = [
        curl, curlTLS, wget, ssh, scp, git, psql, redis, dig, iperf, iperfUDP, staticC, python, pythonUDP, node, java,
        go,
    ]

    private static let fetched = "cmp \"$FOLDER/got\" \"$FOLDER/file\" && echo the same"

    private static let curl = MatrixProgram(
        name: "curl, http", needs: ["curl"], server: .nginx, transport: .tcp, port: 80,
        client: "curl -sS --max-time 20 -o \"$FOLDER/got\" \"http://$HOST:$PORT/file\"; \(fetched)",
        throughProxy:
            "curl -sS --max-time 20 -x \"socks5h://$PROXY\" -o \"$FOLDER/got\" \"http://$HOST:$PORT/file\"; \(fetched)",
        proof: "the same")

    private static let curlTLS = MatrixProgram(
        name: "curl, https", needs: ["curl"], server: .nginx, transport: .tcp, port: 443,
        client: """
            curl -sS --max-time 20 --cacert "$FOLDER/web.pem" -o "$FOLDER/got" "https://$HOST:$PORT/file"; \(fetched)
            """,
        throughProxy: """
            curl -sS --max-time 20 --cacert "$FOLDER/web.pem" -x "socks5h://$PROXY" -o "$FOLDER/got" \\
                "https://$HOST:$PORT/file"; \(fetched)
            """,
        proof: "the same")

    private static let wget = MatrixProgram(
        name: "wget, https", needs: ["wget"], server: .nginx, transport: .tcp, port: 443,
        client: """
            wget -q -T 20 -t 1 --ca-certificate="$FOLDER/web.pem" -O "$FOLDER/got" "https://$HOST:$PORT/file"; \(fetched)
            """,
        throughProxy: """
            https_proxy="http://$PROXY" wget -q -T 20 -t 1 --ca-certificate="$FOLDER/web.pem" -O "$FOLDER/got" \\
                "https://$HOST:$PORT/file"; \(fetched)
            """,
        proof: "the same")

    private static let login =
        "-i \"$FOLDER/user\" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes -o LogLevel=ERROR"
    private static let netcat = "-o ProxyCommand=\"nc -X 5 -x $PROXY %h %p\""
    private static let echoed = "root@\"$HOST\" cat < \"$FOLDER/file\" > \"$FOLDER/got\"; \(fetched)"

    private static let ssh = MatrixProgram(
        name: "ssh", needs: ["ssh", "nc"], server: .sshd, transport: .tcp, port: 22,
        client: "ssh -F none -p \"$PORT\" \(login) \(echoed)",
        throughProxy: "ssh -F none -p \"$PORT\" \(login) \(netcat) \(echoed)", proof: "the same")

    private static let scp = MatrixProgram(
        name: "scp", needs: ["scp", "nc"], server: .sshd, transport: .tcp, port: 22,
        client: "scp -F none -q -P \"$PORT\" \(login) \"$FOLDER/file\" root@\"$HOST\":\"$FOLDER/got\"; \(fetched)",
        throughProxy: """
            scp -F none -q -P "$PORT" \(login) \(netcat) "$FOLDER/file" root@"$HOST":"$FOLDER/got"; \(fetched)
            """,
        proof: "the same")

    private static let git = MatrixProgram(
        name: "git clone", needs: ["git", "nc"], server: .git, transport: .tcp, port: 9418,
        client: """
            rm -rf "$FOLDER/clone"
            git clone -q "git://$HOST:$PORT/repository.git" "$FOLDER/clone"
            cp "$FOLDER/clone/file" "$FOLDER/got"; \(fetched)
            """,
        throughProxy: """
            rm -rf "$FOLDER/clone"
            printf '#!/bin/sh\\nexec nc -X 5 -x %s "$1" "$2"\\n' "$PROXY" > "$FOLDER/through-proxy"
            chmod 755 "$FOLDER/through-proxy"
            GIT_PROXY_COMMAND="$FOLDER/through-proxy" git clone -q "git://$HOST:$PORT/repository.git" "$FOLDER/clone"
            cp "$FOLDER/clone/file" "$FOLDER/got"; \(fetched)
            """,
        proof: "the same")

    private static let psql = MatrixProgram(
        name: "psql", needs: ["psql"], server: .postgres, transport: .tcp, port: 5432,
        client: """
            psql -X -A -t "host=$HOST port=$PORT user=postgres dbname=postgres connect_timeout=20" -c "
                create temporary table words (word text);
                insert into words select repeat('x', 1000) from generate_series(1, 3000);
                select 'rows: ' || count(*) || ', letters: ' || sum(length(word)) from words"
            """,
        proof: "rows: 3000, letters: 3000000")

    private static let redis = MatrixProgram(
        name: "redis-cli", needs: ["redis-cli"], server: .redis, transport: .tcp, port: 6379,
        client: """
            base64 -w 0 "$FOLDER/file" > "$FOLDER/text"
            redis-cli -h "$HOST" -p "$PORT" -x set file < "$FOLDER/text"
            redis-cli -h "$HOST" -p "$PORT" --raw get file | base64 -d > "$FOLDER/got"; \(fetched)
            """,
        proof: "the same")

    private static let dig = MatrixProgram(
        name: "dig, UDP", needs: ["dig"], server: .names, transport: .udp, port: 53,
        client: "dig +short +tries=1 +timeout=10 -p \"$PORT\" @\"$HOST\" www.example.org A", proof: "203.0.113.99")

    /// Its server may be about to end the last client's test, and says so, or closes what came before it was done with that.
    private static let iperf3 = """
        iperf() {
            while ! iperf3 --client "$HOST" --port "$PORT" "$@" > "$FOLDER/got" 2>&1; do
                grep -q 'server is busy' "$FOLDER/got" && continue
                if ! grep -q 'connected to' "$FOLDER/got" && grep -q 'message: Connection reset' "$FOLDER/got"; then
                    continue
                fi
                cat "$FOLDER/got"; exit 1
            done
        }
        """

    private static let iperf = MatrixProgram(
        name: "iperf3, TCP", needs: ["iperf3"], server: .iperf, transport: .tcp, port: 5201,
        client: """
            \(iperf3)
            iperf --bytes 20M --parallel 2; grep SUM.*receiver "$FOLDER/got"
            iperf --bytes 20M --reverse; grep receiver "$FOLDER/got"
            echo both ways
            """,
        proof: "both ways")

    /// Slow enough that a busy machine loses nothing; what is lost shows.
    private static let iperfUDP = MatrixProgram(
        name: "iperf3, UDP", needs: ["iperf3"], server: .iperf, transport: .udp, port: 5201,
        client: """
            \(iperf3)
            for way in '' --reverse; do
                iperf --udp $way --bitrate 5M --length 1200 --bytes 1M
                awk '/receiver/ { split($11, of, "/"); if (of[2] > 500 && of[1] * 20 <= of[2]) print "arrived" }' \\
                    "$FOLDER/got" | grep arrived || { cat "$FOLDER/got"; exit 1; }
            done
            echo both ways
            """,
        proof: "both ways")

    private static let staticC = MatrixProgram(
        name: "static C program", needs: ["cc"], server: .echo, transport: .tcp, port: 7,
        prepares: "cc -O2 -static -w -o \"$FOLDER/static\" \"$SCRIPTS/matrix/client.c\" 2> /dev/null",
        client: "\"$FOLDER/static\" \"$HOST\" \"$PORT\"", proof: "echoed 1000000",
        impossible: ["run, preload": "no library is loaded into it"])

    private static let python = MatrixProgram(
        name: "Python asyncio", needs: ["python3"], server: .echo, transport: .tcp, port: 7,
        client: "python3 \"$SCRIPTS/matrix/client.py\" tcp \"$HOST\" \"$PORT\"", proof: "echoed 1000000")

    private static let pythonUDP = MatrixProgram(
        name: "Python asyncio, UDP", needs: ["python3"], server: .datagrams, transport: .udp, port: 7,
        client: "python3 \"$SCRIPTS/matrix/client.py\" udp \"$HOST\" \"$PORT\"",
        throughProxy: "python3 \"$SCRIPTS/matrix/client.py\" udp \"$HOST\" \"$PORT\" \"$PROXY\"",
        proof: "echoed 10 datagrams")

    private static let node = MatrixProgram(
        name: "Node", needs: ["node"], server: .nginx, transport: .tcp, port: 80,
        client: "node \"$SCRIPTS/matrix/client.mjs\" \"$HOST\" \"$PORT\"", proof: "http, fetch, net: a page from home")

    private static let java = MatrixProgram(
        name: "Java", needs: ["java", "javac"], server: .nginx, transport: .tcp, port: 80,
        prepares: "javac -d \"$FOLDER\" \"$SCRIPTS/matrix/Client.java\"",
        client: "java -XX:TieredStopAtLevel=1 -cp \"$FOLDER\" Client \"$HOST\" \"$PORT\"",
        throughProxy: """
            java -XX:TieredStopAtLevel=1 -DsocksProxyHost="${PROXY%:*}" -DsocksProxyPort="${PROXY##*:}" -cp "$FOLDER" \\
                Client "$HOST" "$PORT" proxied
            """,
        proof: "a page from home")

    private static let go = MatrixProgram(
        name: "Go", needs: ["go"], server: .nginx, transport: .tcp, port: 80,
        prepares:
            "GOCACHE=\"$FOLDER/go\" GO111MODULE=off go build -o \"$FOLDER/go-client\" \"$SCRIPTS/matrix/client.go\"",
        client: "GODEBUG=netdns=go \"$FOLDER/go-client\" \"$HOST\" \"$PORT\"",
        throughProxy: "HTTP_PROXY=\"socks5://$PROXY\" \"$FOLDER/go-client\" \"$HOST\" \"$PORT\" proxied",
        proof: "page: a page from home",
        impossible: ["run, preload": "it makes its system calls without libc"])
}
