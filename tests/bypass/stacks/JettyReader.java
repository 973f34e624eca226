import java.io.IOException;
import javax.servlet.http.Cookie;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;
import javax.servlet.http.HttpSession;
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.server.handler.AbstractHandler;
import org.eclipse.jetty.server.session.DefaultSessionIdManager;
import org.eclipse.jetty.server.session.SessionHandler;
import org.eclipse.jetty.util.log.Log;
import org.eclipse.jetty.util.log.StdErrLog;

/** Jetty's sessions. Arguments: a worker name, the revoked id, a live one (without the worker). Prints the port. */
public final class JettyReader {
    public static void main(String[] arguments) throws Exception {
        System.setProperty("org.eclipse.jetty.LEVEL", "OFF");
        Log.setLog(new StdErrLog());
        String revoked = arguments[1];
        Server server = new Server();
        ServerConnector connector = new ServerConnector(server);
        connector.setHost("127.0.0.1");
        server.addConnector(connector);
        DefaultSessionIdManager ids = new DefaultSessionIdManager(server) {
            @Override
            public String newSessionId(HttpServletRequest request, long created) {
                return request.getHeader("Make-Session");
            }
        };
        ids.setWorkerName(arguments[0]);
        server.setSessionIdManager(ids);
        SessionHandler sessions = new SessionHandler();
        sessions.setHandler(new AbstractHandler() {
            @Override
            public void handle(String target, Request base, HttpServletRequest request, HttpServletResponse response)
                    throws IOException {
                base.setHandled(true);
                String make = request.getHeader("Make-Session");
                if (make != null) {
                    request.getSession(true).setAttribute("who", make.equals(revoked) ? "revoked" : "live");
                }
                HttpSession session = request.getSession(false);
                boolean found = session != null && "revoked".equals(session.getAttribute("who"));
                Cookie[] cookies = request.getCookies();
                for (Cookie cookie : cookies == null ? new Cookie[0] : cookies) {
                    found |= cookie.getName().equals("JSESSIONID") && cookie.getValue().equals(revoked + ".node0");
                }
                response.getOutputStream().print(found ? "revoked" : "other");
            }
        });
        server.setHandler(sessions);
        server.start();
        System.out.println(connector.getLocalPort());
        System.in.read();
        System.exit(0);
    }
}
