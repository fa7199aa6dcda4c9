// SPDX-License-Identifier: Apache-2.0
// The same page in the ways that Java has of its own: Client HOST PORT [proxied]
import java.io.InputStream;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;

public class Client {
    public static void main(String[] arguments) throws Exception {
        String host = arguments[0];
        int port = Integer.parseInt(arguments[1]);
        URI page = new URI("http://" + host + ":" + port + "/");
        String first = read(page.toURL().openStream());
        check(first, bySocket(host, port));
        // It takes no SOCKS proxy.
        if (arguments.length == 2) {
            HttpRequest request = HttpRequest.newBuilder(page).build();
            check(first, HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body());
        }
        System.out.println(first.trim());
    }

    private static String bySocket(String host, int port) throws Exception {
        try (Socket socket = new Socket(host, port)) {
            String request = "GET / HTTP/1.0\r\nHost: " + host + "\r\n\r\n";
            socket.getOutputStream().write(request.getBytes(StandardCharsets.US_ASCII));
            String answer = read(socket.getInputStream());
            return answer.substring(answer.indexOf("\r\n\r\n") + 4);
        }
    }

    private static String read(InputStream stream) throws Exception {
        return new String(stream.readAllBytes(), StandardCharsets.UTF_8);
    }

    private static void check(String one, String other) {
        if (!one.equals(other)) throw new AssertionError("they differ: " + one + other);
    }
}
