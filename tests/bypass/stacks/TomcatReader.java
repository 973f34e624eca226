import jakarta.servlet.http.Cookie;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import jakarta.servlet.http.HttpSession;
import java.io.File;
import java.io.IOException;
import java.util.logging.Level;
import java.util.logging.LogManager;
import java.util.logging.Logger;
import org.apache.catalina.Context;
import org.apache.catalina.connector.Connector;
import org.apache.catalina.startup.Tomcat;

/** Tomcat's sessions. Arguments: a scratch folder, the revoked id, a live one. Prints the port. */
public final class TomcatReader {
    public static void main(String[] arguments) throws Exception {
        LogManager.getLogManager().reset();
        Logger.getLogger("").setLevel(Level.OFF);
        String revoked = arguments[1];
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(arguments[0]);
        Connector connector = new Connector("HTTP/1.1");
        connector.setProperty("address", "127.0.0.1");
        connector.setProperty("maxKeepAliveRequests", "-1");
        connector.setPort(0);
        tomcat.setConnector(connector);
        Context context = tomcat.addContext("", new File(arguments[0]).getAbsolutePath());
        Tomcat.addServlet(context, "reader", new HttpServlet() {
            @Override
            protected void service(HttpServletRequest request, HttpServletResponse response) throws IOException {
                HttpSession session = request.getSession(false);
                boolean found = session != null && "revoked".equals(session.getAttribute("who"));
                Cookie[] cookies = request.getCookies(); // what Spring Session and others look through themselves
                for (Cookie cookie : cookies == null ? new Cookie[0] : cookies) {
                    found |= cookie.getName().equals("JSESSIONID") && cookie.getValue().equals(revoked);
                }
                response.getOutputStream().print(found ? "revoked" : "other");
            }
        });
        context.addServletMappingDecoded("/*", "reader");
        tomcat.start();
        context.getManager().createSession(revoked).getSession().setAttribute("who", "revoked");
        context.getManager().createSession(arguments[2]).getSession().setAttribute("who", "live");
        System.out.println(connector.getLocalPort());
        System.in.read();
        System.exit(0);
    }
}
