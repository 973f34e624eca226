import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import jakarta.servlet.http.HttpSession;
import java.io.IOException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.Map;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/**
 * A servlet app with the container's sessions and a hand-written login, as companies have had one for fifteen years.
 *
 * It knows nothing of back-channel logout or of a sidecar. What an operator may set is in the system properties
 * oidc.issuer, oidc.tokenUrl, oidc.clientId, oidc.clientSecret and base.url. Its sessions are the container's: the cookie
 * JSESSIONID, and for browsers without cookies the path parameter of the same name.
 */
public class LegacyApp extends HttpServlet {
    private static final long serialVersionUID = 1L;
    private static final Pattern ID_TOKEN = Pattern.compile("\"id_token\"\\s*:\\s*\"([^\"]+)\"");
    private static final Pattern SUBJECT = Pattern.compile("\"sub\"\\s*:\\s*\"([^\"]+)\"");

    private final transient HttpClient http = HttpClient.newHttpClient();

    @Override
    protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
        HttpSession session = request.getSession(false);
        Object user = session == null ? null : session.getAttribute("user");
        switch (request.getServletPath()) {
            case "/" -> page(response, "<h1>Home</h1><p id='who'>" + (user == null ? "nobody" : user) + "</p>");
            case "/private" -> {
                if (user == null) {
                    login(request, response);
                } else {
                    String logout = button(response.encodeURL("/logout"), "Log out");
                    page(response, "<h1>Private</h1><p id='who'>" + user + "</p>" + logout);
                }
            }
            case "/api/me" -> {
                response.setStatus(user == null ? 401 : 200);
                response.setContentType("application/json");
                response.getWriter().print("{\"user\": " + (user == null ? "null" : "\"" + user + "\"") + "}");
            }
            case "/settings" -> page(response, button(response.encodeURL("/settings"), "Become an administrator"));
            case "/login" -> login(request, response);
            case "/oidc/callback" -> callback(request, response);
            default -> response.sendError(404);
        }
    }

    @Override
    protected void doPost(HttpServletRequest request, HttpServletResponse response) throws IOException {
        HttpSession session = request.getSession(false);
        switch (request.getServletPath()) {
            case "/settings" -> {
                if (session != null) {
                    request.changeSessionId(); // more rights: another id, as OWASP has it
                }
                response.sendRedirect(response.encodeRedirectURL("/private"));
            }
            case "/logout" -> {
                if (session != null) {
                    session.invalidate(); // the cookie stays in the browser, as in most apps
                }
                response.sendRedirect("/");
            }
            default -> response.sendError(404);
        }
    }

    private void login(HttpServletRequest request, HttpServletResponse response) throws IOException {
        String state = UUID.randomUUID().toString();
        request.getSession().setAttribute("state", state);
        response.sendRedirect(setting("oidc.issuer") + "/auth?" + form(Map.of(
            "response_type", "code",
            "client_id", setting("oidc.clientId"),
            "redirect_uri", setting("base.url") + "/oidc/callback",
            "scope", "openid profile",
            "state", state)));
    }

    private void callback(HttpServletRequest request, HttpServletResponse response) throws IOException {
        HttpSession session = request.getSession(false);
        String code = request.getParameter("code");
        if (session == null || code == null || !request.getParameter("state").equals(session.getAttribute("state"))) {
            response.sendError(400, "Login failed");
            return;
        }
        String subject = subjectOf(code);
        request.changeSessionId();
        session.removeAttribute("state");
        session.setAttribute("user", subject);
        response.sendRedirect(response.encodeRedirectURL("/private"));
    }

    /** Redeems the code. The answer comes straight from the token endpoint (OpenID Connect Core 1.0, 3.1.3.7). */
    private String subjectOf(String code) throws IOException {
        String secret = form(setting("oidc.clientId")) + ":" + form(setting("oidc.clientSecret"));
        HttpRequest asked = HttpRequest.newBuilder(URI.create(setting("oidc.tokenUrl")))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header("Authorization", "Basic " + Base64.getEncoder().encodeToString(secret.getBytes(StandardCharsets.UTF_8)))
            .POST(HttpRequest.BodyPublishers.ofString(form(Map.of(
                "grant_type", "authorization_code",
                "code", code,
                "redirect_uri", setting("base.url") + "/oidc/callback"))))
            .build();
        try {
            String token = found(ID_TOKEN, http.send(asked, HttpResponse.BodyHandlers.ofString()).body());
            byte[] claims = Base64.getUrlDecoder().decode(token.split("\\.")[1]);
            return found(SUBJECT, new String(claims, StandardCharsets.UTF_8));
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
            throw new IOException(interrupted);
        }
    }

    private static String found(Pattern pattern, String text) throws IOException {
        Matcher matcher = pattern.matcher(text);
        if (!matcher.find()) {
            throw new IOException("the provider's answer has no " + pattern);
        }
        return matcher.group(1);
    }

    private static String form(Map<String, String> fields) {
        return fields.entrySet().stream()
            .map(field -> field.getKey() + "=" + form(field.getValue()))
            .collect(Collectors.joining("&"));
    }

    private static String form(String value) {
        return URLEncoder.encode(value, StandardCharsets.UTF_8);
    }

    private static String setting(String name) {
        return System.getProperty(name);
    }

    private static String button(String url, String text) {
        return "<form method=\"post\" action=\"" + url + "\"><button type=\"submit\">" + text + "</button></form>";
    }

    private static void page(HttpServletResponse response, String body) throws IOException {
        response.setContentType("text/html; charset=utf-8");
        response.getWriter().print(body);
    }
}
