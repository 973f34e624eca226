<?php
// PHP's own sessions, in the configuration that takes them from the most places. Says whether the request is of the
// session that was logged out. Run by `php -S`; the sessions are files beside the router.
ini_set('display_errors', '0');
session_save_path(getenv('SESSIONS'));
session_name(getenv('SESSION_NAME') ?: 'PHPSESSID');
@session_start(['use_only_cookies' => 0, 'use_trans_sid' => 1, 'use_strict_mode' => 1, 'use_cookies' => 1]);
$own = $_COOKIE[session_name()] ?? $_GET[session_name()] ?? $_POST[session_name()] ?? null;
$revoked = ($_SESSION['who'] ?? '') === 'revoked' || $own === getenv('REVOKED');
header('Content-Type: text/plain');
echo $revoked ? 'revoked' : 'other';
