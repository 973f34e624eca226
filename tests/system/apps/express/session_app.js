// An Express app with express-session and openid-client, as many companies run one.
//
// It knows nothing of back-channel logout or of a sidecar. What an operator may set is in the environment: OIDC_ISSUER,
// OIDC_CLIENT_ID, OIDC_CLIENT_SECRET, BASE_URL, and OIDC_TOKEN_ENDPOINT where that is not the one of the issuer's
// discovery document.
//
// Usage: node session_app.js PORT. Ends when its standard input does, so that it never outlives a test run.

import { promisify } from 'node:util';

import express from 'express';
import session from 'express-session';
import * as oidc from 'openid-client';

const { OIDC_ISSUER, OIDC_CLIENT_ID, OIDC_CLIENT_SECRET, OIDC_TOKEN_ENDPOINT, BASE_URL } = process.env;
const redirectUri = `${BASE_URL}/auth/callback`;

// Found when somebody logs in for the first time, so that the app can start before the provider.
let configured;

function configuration() {
  configured ??= configure().catch((error) => {
    configured = undefined;
    throw error;
  });
  return configured;
}

async function configure() {
  const insecure = { execute: [oidc.allowInsecureRequests] }; // http on loopback
  const found = await oidc.discovery(new URL(OIDC_ISSUER), OIDC_CLIENT_ID, OIDC_CLIENT_SECRET, undefined, insecure);
  if (!OIDC_TOKEN_ENDPOINT) return found;
  const server = { ...found.serverMetadata(), token_endpoint: OIDC_TOKEN_ENDPOINT };
  const config = new oidc.Configuration(server, OIDC_CLIENT_ID, OIDC_CLIENT_SECRET);
  oidc.allowInsecureRequests(config);
  return config;
}

const app = express();
app.use(session({ secret: 'made up for tests', resave: false, saveUninitialized: false, rolling: true }));

const button = (url, text) => `<form method="post" action="${url}"><button type="submit">${text}</button></form>`;
const regenerated = (request) => promisify(request.session.regenerate).call(request.session);

app.get('/', (request, response) => {
  response.send(`<h1>Home</h1><p id='who'>${request.session.user ?? 'nobody'}</p>`);
});

app.get('/private', (request, response) => {
  if (!request.session.user) return response.redirect('/login');
  response.send(`<h1>Private</h1><p id='who'>${request.session.user}</p>${button('/logout', 'Log out')}`);
});

app.get('/api/me', (request, response) => {
  const user = request.session.user ?? null;
  response.status(user ? 200 : 401).json({ user });
});

app.get('/settings', (request, response) => response.send(button('/settings', 'Become an administrator')));

app.post('/settings', async (request, response) => {
  const { user } = request.session;
  await regenerated(request); // more rights: another id, as OWASP has it
  request.session.user = user;
  response.redirect(303, '/private');
});

app.get('/login', async (request, response) => {
  const login = { verifier: oidc.randomPKCECodeVerifier(), state: oidc.randomState() };
  request.session.login = login;
  const url = oidc.buildAuthorizationUrl(await configuration(), {
    redirect_uri: redirectUri,
    scope: 'openid profile',
    state: login.state,
    code_challenge: await oidc.calculatePKCECodeChallenge(login.verifier),
    code_challenge_method: 'S256',
  });
  response.redirect(url.href);
});

app.get('/auth/callback', async (request, response) => {
  const { login } = request.session;
  if (!login) return response.redirect('/login');
  const current = new URL(request.originalUrl, BASE_URL);
  const checks = { pkceCodeVerifier: login.verifier, expectedState: login.state };
  const tokens = await oidc.authorizationCodeGrant(await configuration(), current, checks);
  await regenerated(request);
  request.session.user = tokens.claims().sub;
  response.redirect('/private');
});

app.post('/logout', async (request, response) => {
  await promisify(request.session.destroy).call(request.session);
  response.clearCookie('connect.sid').redirect(303, '/');
});

app.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('ready'));
process.stdin.on('end', () => process.exit(0)).resume();
