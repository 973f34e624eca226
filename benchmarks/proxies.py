"""What the sidecar is compared with, and the app behind all of them: configurations with the same duties.

Each forwards on kept connections, keeps Host and sends X-Forwarded-*; none writes an access log.
"""

import sys
from pathlib import Path

from benchmarks.processes import Program, free_port

_HERE = Path(__file__).parent
_MODULES = Path("/usr/lib/apache2/modules")
_HEADERS = """proxy_http_version 1.1; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;
 proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $host;
 proxy_set_header X-Forwarded-Port $server_port;"""

_UNBUFFERED = (
    "proxy_buffering off; proxy_request_buffering off; proxy_buffer_size 64k;"
    " proxy_buffers 8 64k; client_body_buffer_size 64k;"
)


def small_app(folder: Path) -> Program:
    """The app: nginx, 1 KiB from memory."""
    location = (
        f'default_type text/html; add_header Cache-Control "no-cache"; add_header ETag "abc";'
        f' add_header X-Frame-Options DENY; return 200 "{"x" * 1024}";'
    )
    port = free_port()
    return _nginx(
        "app", folder, port, f"server {{ listen 127.0.0.1:{port} backlog=1024; location / {{ {location} }} }}"
    )


def nginx(folder: Path, app: int, *, buffering: bool = True, tls: tuple[Path, Path] | None = None) -> Program:
    """nginx as the reference proxy: as it comes, or with `buffering` off both ways and buffers of 64 KiB for 4 or 8."""
    port = free_port()
    secure = f"ssl_certificate {tls[0]}; ssl_certificate_key {tls[1]};" if tls else ""
    off = "" if buffering else _UNBUFFERED
    server = f"""upstream app {{ server 127.0.0.1:{app}; keepalive 256; }}
 server {{ listen 127.0.0.1:{port}{" ssl" if tls else ""} backlog=1024; {secure} client_max_body_size 0; {off}
  location / {{ proxy_pass http://app; proxy_set_header Connection ""; {_HEADERS} }}
  location /socket {{ proxy_pass http://app; proxy_set_header Upgrade $http_upgrade;
   proxy_set_header Connection upgrade; {_HEADERS} }} }}"""
    name = "nginx" if buffering else "nginx, unbuffered, 64 KiB"
    return _nginx(name, folder, port, server)


def _nginx(name: str, folder: Path, port: int, server: str) -> Program:
    path, temporary = folder / f"nginx-{port}.conf", ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    path.write_text(
        f"daemon off; master_process off; worker_processes 1; pid {folder}/{port}.pid; error_log stderr warn;\n"
        f"events {{ worker_connections 16384; }}\n"
        f"http {{ access_log off; keepalive_requests 10000000;\n"
        f" {' '.join(f'{kind}_temp_path {folder}/{kind}-{port};' for kind in temporary)}\n {server} }}\n"
    )
    return Program(name=name, command=["nginx", "-p", str(folder), "-c", str(path)], port=port)


def haproxy(folder: Path, app: int) -> Program:
    port = free_port()
    path = folder / f"haproxy-{port}.cfg"
    path.write_text(
        "global\n nbthread 1\n maxconn 4096\n"
        "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n"
        f"frontend in\n bind 127.0.0.1:{port}\n option forwardfor\n http-request set-header X-Forwarded-Proto http\n"
        " http-request set-header X-Forwarded-Host %[req.hdr(host)]\n default_backend app\n"
        f"backend app\n http-reuse always\n server app 127.0.0.1:{app}\n"
    )
    return Program(name="haproxy", command=["haproxy", "-f", str(path)], port=port)


def plain_aiohttp(_folder: Path, app: int) -> Program:
    port = free_port()
    command = [sys.executable, str(_HERE / "plain_proxy.py"), str(port), f"http://127.0.0.1:{app}"]
    return Program(name="plain aiohttp proxy, no rules", command=command, port=port)


def apache(folder: Path, app: int) -> Program:
    """Apache with mod_proxy, event MPM."""
    return apache_with("Apache, mod_proxy", folder, app, free_port(), modules=(), directives="")


def apache_with(name: str, folder: Path, app: int, port: int, *, modules: tuple[str, ...], directives: str) -> Program:
    """One child process of the event MPM, with a thread for each connection of the load."""
    loaded = ("mpm_event", "authn_core", "authz_core", "authz_user", "headers", "proxy", "proxy_http", *modules)
    path = folder / f"apache-{port}.conf"
    path.write_text(
        "".join(f"LoadModule {module}_module {_MODULES}/mod_{module}.so\n" for module in loaded)
        + f"ServerRoot {folder}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile {folder}/apache-{port}.pid\n"
        f"DefaultRuntimeDir {folder}\nErrorLog /dev/stderr\nLogLevel warn\nUser www-data\nGroup www-data\n"
        "ServerLimit 1\nStartServers 1\nThreadsPerChild 64\nMaxRequestWorkers 64\nMinSpareThreads 1\n"
        "MaxSpareThreads 64\nKeepAlive On\nMaxKeepAliveRequests 0\nKeepAliveTimeout 60\n"
        "ProxyPreserveHost On\nRequestHeader set X-Forwarded-Proto http\n"
        f"{directives}\nProxyPass / http://127.0.0.1:{app}/ keepalive=On\n"
    )
    return Program(name=name, command=["apache2", "-f", str(path), "-DFOREGROUND"], port=port)


def has_apache() -> bool:
    """Whether Apache and mod_auth_openidc are installed, where Debian puts them."""
    return (_MODULES / "mod_auth_openidc.so").exists()
