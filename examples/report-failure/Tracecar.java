import java.io.*;
import java.net.URI;
import java.net.http.*;
import java.time.Duration;

class Tracecar {
    private static final HttpClient HTTP = HttpClient.newHttpClient();
    private static final String URL = System.getenv().getOrDefault("TRACECAR_URL", "http://127.0.0.1:8425");

    /** Returns when the dead letter is durable. After an exception the outcome is unknown: call it again. */
    static String report(String position, Throwable error, int attempts) throws IOException, InterruptedException {
        StringWriter trace = new StringWriter();
        error.printStackTrace(new PrintWriter(trace));
        String failure = "{\"position\": " + json(position) + ", \"group\": \"billing\", \"attempts\": " + attempts
            + ", \"error\": {\"type\": " + json(error.getClass().getName())
            + ", \"message\": " + json(String.valueOf(error.getMessage()))
            + ", \"stacktrace\": " + json(trace.toString()) + "}}";
        HttpRequest request = HttpRequest.newBuilder(URI.create(URL + "/v1/failures"))
            .header("Authorization", "Bearer " + System.getenv("TRACECAR_TOKEN"))
            .header("Content-Type", "application/json")
            .timeout(Duration.ofSeconds(30))
            .POST(HttpRequest.BodyPublishers.ofString(failure))
            .build();
        HttpResponse<String> answer = HTTP.send(request, HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() / 100 != 2) {
            throw new IOException(answer.statusCode() + " " + answer.body());
        }
        return answer.body();
    }

    private static String json(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else if (c < 0x20 || Character.isSurrogate(c)) {
                out.append(String.format("\\u%04x", (int) c));
            } else {
                out.append(c);
            }
        }
        return out.append('"').toString();
    }
}
