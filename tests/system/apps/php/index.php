<?php
// A PHP app with native sessions and a hand-written login, as companies have had one for ten years.
//
// It knows nothing of back-channel logout or of a sidecar. What an operator may set is in the environment: OIDC_ISSUER,
// OIDC_TOKEN_URL, OIDC_CLIENT_ID, OIDC_CLIENT_SECRET, BASE_URL.
//
// Usage: php -S 127.0.0.1:PORT index.php

function post(string $url, array $fields): array {
    $context = stream_context_create(['http' => [
        'method' => 'POST',
        'header' => "Content-Type: application/x-www-form-urlencoded\r\n",
        'content' => http_build_query($fields),
        'timeout' => 10,
    ]]);
    $text = file_get_contents($url, false, $context);
    return $text === false ? [] : json_decode($text, true);
}

// The token comes straight from the provider's token endpoint, so its signature need not be checked (OpenID Connect
// Core 1.0 section 3.1.3.7).
function claims(string $token): array {
    return json_decode(base64_decode(strtr(explode('.', $token)[1], '-_', '+/')), true);
}

function go(string $url): void {
    header("Location: $url", true, 303);
}

function button(string $url, string $text): string {
    return "<form method=\"post\" action=\"$url\"><button type=\"submit\">$text</button></form>";
}

function login(): void {
    $_SESSION['state'] = bin2hex(random_bytes(16));
    $_SESSION['nonce'] = bin2hex(random_bytes(16));
    go(getenv('OIDC_ISSUER') . '/auth?' . http_build_query([
        'response_type' => 'code',
        'client_id' => getenv('OIDC_CLIENT_ID'),
        'redirect_uri' => getenv('BASE_URL') . '/oidc/callback',
        'scope' => 'openid profile',
        'state' => $_SESSION['state'],
        'nonce' => $_SESSION['nonce'],
    ]));
}

function callback(): void {
    if (!hash_equals($_SESSION['state'] ?? '', $_GET['state'] ?? '') || !isset($_GET['code'])) {
        http_response_code(400);
        echo '<h1>Login failed</h1>';
        return;
    }
    $answer = post(getenv('OIDC_TOKEN_URL'), [
        'grant_type' => 'authorization_code',
        'code' => $_GET['code'],
        'redirect_uri' => getenv('BASE_URL') . '/oidc/callback',
        'client_id' => getenv('OIDC_CLIENT_ID'),
        'client_secret' => getenv('OIDC_CLIENT_SECRET'),
    ]);
    $claims = isset($answer['id_token']) ? claims($answer['id_token']) : [];
    if (!hash_equals($_SESSION['nonce'], $claims['nonce'] ?? '')) {
        http_response_code(400);
        echo '<h1>Login failed</h1>';
        return;
    }
    session_regenerate_id(true);
    $_SESSION = ['user' => $claims['sub']];
    go('/private');
}

function settings(): void {
    if ($_SERVER['REQUEST_METHOD'] !== 'POST') {
        echo button('/settings', 'Become an administrator');
        return;
    }
    session_regenerate_id(); // the old file stays until the garbage collector comes, as in most apps
    go('/private');
}

function logout(): void {
    $_SESSION = [];
    session_destroy(); // the cookie stays in the browser, as in most apps
    go('/');
}

session_start();
$user = $_SESSION['user'] ?? null;
switch (parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH)) {
    case '/':
        echo '<h1>Home</h1><p id="who">' . htmlspecialchars($user ?? 'nobody') . '</p>';
        break;
    case '/private':
        if ($user === null) {
            go('/login');
        } else {
            echo '<h1>Private</h1><p id="who">' . htmlspecialchars($user) . '</p>' . button('/logout', 'Log out');
        }
        break;
    case '/api/me':
        http_response_code($user === null ? 401 : 200);
        header('Content-Type: application/json');
        echo json_encode(['user' => $user]);
        break;
    case '/settings':
        settings();
        break;
    case '/login':
        login();
        break;
    case '/oidc/callback':
        callback();
        break;
    case '/logout':
        logout();
        break;
    default:
        http_response_code(404);
}
