// SPDX-License-Identifier: Apache-2.0

extension MatrixServer {
    static let nginx = MatrixServer(
        name: "nginx", needs: ["nginx", "openssl"], tcp: [80, 443],
        prepares: """
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=home \\
                -addext subjectAltName=DNS:home.natfwt.internal,DNS:localhost \\
                -keyout "$FOLDER/web.key" -out "$FOLDER/web.pem" 2> /dev/null
            mkdir "$FOLDER/web"
            cp "$FOLDER/file" "$FOLDER/web/file"
            echo 'a page from home' > "$FOLDER/web/index.html"
            chmod 644 "$FOLDER"/web/*
            case $BIND in *:*) AT="[$BIND]" ;; *) AT=$BIND ;; esac
            cat > "$FOLDER/nginx.conf" <<END
            daemon off; pid $FOLDER/nginx.pid; error_log stderr; user root; worker_processes 1;
            events {}
            http {
              access_log off; root $FOLDER/web;
              client_body_temp_path $FOLDER/body; proxy_temp_path $FOLDER/p; fastcgi_temp_path $FOLDER/f;
              uwsgi_temp_path $FOLDER/u; scgi_temp_path $FOLDER/s;
              server { listen $AT:80; }
              server { listen $AT:443 ssl; ssl_certificate $FOLDER/web.pem; ssl_certificate_key $FOLDER/web.key; }
            }
            END
            """,
        script: "exec nginx -c \"$FOLDER/nginx.conf\"")

    static let sshd = MatrixServer(
        name: "sshd", needs: ["sshd", "ssh-keygen"], tcp: [22],
        prepares: """
            ssh-keygen -q -t ed25519 -N '' -f "$FOLDER/host"
            ssh-keygen -q -t ed25519 -N '' -f "$FOLDER/user"
            cp "$FOLDER/user.pub" "$FOLDER/keys"
            mkdir -p /run/sshd
            """,
        script: """
            exec "$(command -v sshd)" -D -e -f /dev/null -h "$FOLDER/host" -p 22 -o AuthorizedKeysFile="$FOLDER/keys" \\
                -o StrictModes=no -o ListenAddress="$BIND" -o PidFile=none -o Subsystem='sftp internal-sftp'
            """)

    static let git = MatrixServer(
        name: "git daemon", needs: ["git"], tcp: [9418],
        prepares: """
            git init -q "$FOLDER/original"
            cp "$FOLDER/file" "$FOLDER/original/file"
            git -C "$FOLDER/original" add file
            git -C "$FOLDER/original" -c user.name=home -c user.email=home@example.com commit -q -m 'from home'
            git clone -q --bare "$FOLDER/original" "$FOLDER/repository.git"
            """,
        script: """
            exec git -c safe.directory='*' daemon --listen="$BIND" --export-all --reuseaddr --base-path="$FOLDER"
            """)

    /// As the user that Debian makes for it: it runs as root nowhere.
    static let postgres = MatrixServer(
        name: "postgres", needs: ["/usr/lib/postgresql/*/bin/postgres", "setpriv"], tcp: [5432],
        prepares: """
            mkdir "$FOLDER/postgres"
            chown postgres: "$FOLDER/postgres"
            setpriv --reuid=postgres --regid=postgres --clear-groups env HOME="$FOLDER/postgres" \\
                "$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)/initdb" --auth=trust --no-sync --no-instructions \\
                --locale=C --encoding=UTF8 -D "$FOLDER/postgres/data" > /dev/null
            # Over an adapter other nodes come as themselves.
            echo "host all all 2001:20::/28 trust" >> "$FOLDER/postgres/data/pg_hba.conf"
            """,
        script: """
            exec setpriv --reuid=postgres --regid=postgres --clear-groups \\
                "$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)/postgres" -D "$FOLDER/postgres/data" -p 5432 \\
                -c listen_addresses="$BIND" -c unix_socket_directories="$FOLDER/postgres" -c fsync=off \\
                -c shared_buffers=16MB -c max_wal_senders=0 -c wal_level=minimal
            """)

    static let redis = MatrixServer(
        name: "redis-server", needs: ["redis-server"], tcp: [6379],
        script: """
            exec redis-server --bind "$BIND" --port 6379 --save '' --appendonly no --dir "$FOLDER" --protected-mode no
            """)

    static let iperf = MatrixServer(
        name: "iperf3", needs: ["iperf3"], tcp: [5201], script: "exec iperf3 --server --bind \"$BIND\"")

    static let names = MatrixServer(
        name: "name server", udp: [53], script: "exec python3 \"$SCRIPTS/dns.py\" \"$BIND\" 53")

    static let echo = MatrixServer(
        name: "echo", tcp: [7], script: "exec python3 \"$SCRIPTS/talk.py\" serve \"$BIND\" 7 echo")

    static let datagrams = MatrixServer(
        name: "datagrams", udp: [7], script: "exec python3 \"$SCRIPTS/udp.py\" serve \"$BIND\" 7")
}
