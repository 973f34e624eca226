// A certified OpenID provider (npm oidc-provider) for the system tests. Everything that matters is the library's own:
// tokens, sessions, back-channel logout. Added here: a login form without a password, no question of consent, and
// two routes by which a test plays the administrator.
//
// Usage: node provider.js PORT CLIENTS, where CLIENTS is a JSON array of client metadata. Prints one JSON line when
// ready, and one for every logout token that it sent. Ends when its standard input does, so that it never outlives a
// test run.

import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';

import { interactionPolicy, Provider } from 'oidc-provider';

const [port, clients] = [Number(process.argv[2]), JSON.parse(process.argv[3])];
const issuer = `http://localhost:${port}`;

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const jwk = { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: `key-${process.pid}` };

// An app on loopback has no https. For an implicit flow the library then takes it for a native one, and wants consent.
const policy = interactionPolicy.base();
policy.get('consent').checks.remove('native_client_prompt');

const provider = new Provider(issuer, {
  clients,
  jwks: { keys: [jwk] },
  cookies: { keys: ['made up for tests'] },
  claims: { openid: ['sub'], profile: ['name'], email: ['email'] },
  features: {
    backchannelLogout: { enabled: true },
    introspection: { enabled: true, allowedPolicy: async () => true },
    devInteractions: { enabled: false },
    rpInitiatedLogout: { enabled: true, logoutSource, postLogoutSuccessSource },
  },
  interactions: { policy, url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  ttl: { Session: 86400, Grant: 86400, Interaction: 600, IdToken: 300, AccessToken: 300 },
  findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub, name: `The user ${sub}`, email: `${sub}@example.com` }) }),
  loadExistingGrant: grantWithoutConsent,
  // The library hands over a dispatcher that refuses loopback addresses; in these tests everything is on loopback.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
});

function logoutSource(ctx, form) {
  ctx.body = `<!doctype html><html lang="en"><title>Log out</title><body>${form}
    <button type="submit" form="op.logoutForm" name="logout" value="yes" id="confirm">Log out</button></body></html>`;
}

// The library's own page loads a font from elsewhere.
function postLogoutSuccessSource(ctx) {
  ctx.body = '<!doctype html><html lang="en"><title>Logged out</title><body><h1 id="done">Logged out</h1></body></html>';
}

async function grantWithoutConsent(ctx) {
  const { client, session } = ctx.oidc;
  const known = session.grantIdFor(client.clientId);
  const kept = known && (await provider.Grant.find(known));
  if (kept) return kept;
  const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
  grant.addOIDCScope('openid profile email');
  await grant.save();
  return grant;
}

// Who is logged in, oldest first: session uid to account. The memory adapter cannot list.
const sessions = new Map();
provider.on('authorization.success', (ctx) => sessions.set(ctx.oidc.session.uid, ctx.oidc.session.accountId));
provider.on('backchannel.success', (ctx, client, account, sid) => say({ event: 'logout', client: client.clientId, account, sid }));
provider.on('backchannel.error', (ctx, error, client) => say({ event: 'logout_failed', client: client.clientId, error: String(error) }));
provider.on('server_error', (ctx, error) => say({ event: 'error', error: error.stack }));

async function endSession(uid) {
  const session = await provider.Session.findByUid(uid);
  sessions.delete(uid);
  if (!session) return { found: false, clients: {} };
  const outcomes = {};
  for (const [clientId, { sid, grantId }] of Object.entries(session.authorizations ?? {})) {
    const client = await provider.Client.find(clientId);
    outcomes[clientId] = await client.backchannelLogout(session.accountId, sid).then(() => 'ok', String);
    await provider.AccessToken.revokeByGrantId(grantId);
  }
  await session.destroy();
  return { found: true, clients: outcomes };
}

// What no logout token announces: the account is disabled, and its session and tokens are worth nothing any more.
async function disable(uid) {
  const session = await provider.Session.findByUid(uid);
  sessions.delete(uid);
  for (const { grantId } of Object.values(session?.authorizations ?? {})) {
    await provider.AccessToken.revokeByGrantId(grantId);
    await (await provider.Grant.find(grantId))?.destroy();
  }
  await session?.destroy();
  return { found: Boolean(session) };
}

async function body(request) {
  let text = '';
  for await (const chunk of request) text += chunk;
  return new URLSearchParams(text);
}

function send(response, status, type, text) {
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(text);
}

const routes = [
  ['GET', /^\/interaction\/[\w-]+$/, async (request, response) => {
    const { uid } = await provider.interactionDetails(request, response);
    send(response, 200, 'text/html; charset=utf-8', `<!doctype html><html lang="en"><title>Log in</title><body>
      <form method="post" action="/interaction/${uid}"><label>User <input name="user" id="user"></label>
      <button type="submit" id="login">Log in</button></form></body></html>`);
  }],
  ['POST', /^\/interaction\/[\w-]+$/, async (request, response) => {
    const accountId = (await body(request)).get('user');
    await provider.interactionFinished(request, response, { login: { accountId } });
  }],
  ['GET', /^\/admin\/sessions$/, async (request, response) => {
    const list = [...sessions].map(([uid, account]) => ({ uid, account }));
    send(response, 200, 'application/json', JSON.stringify(list));
  }],
  ['POST', /^\/admin\/sessions\/([\w-]+)\/disable$/, async (request, response, [, uid]) => {
    send(response, 200, 'application/json', JSON.stringify(await disable(uid)));
  }],
  ['POST', /^\/admin\/sessions\/([\w-]+)\/end$/, async (request, response, [, uid]) => {
    send(response, 200, 'application/json', JSON.stringify(await endSession(uid)));
  }],
];

function say(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

const otherwise = provider.callback();
const server = createServer((request, response) => {
  const path = request.url.split('?', 1)[0];
  for (const [method, pattern, handle] of routes) {
    const match = method === request.method && pattern.exec(path);
    if (match) {
      handle(request, response, match).catch((error) => send(response, 500, 'text/plain', String(error.stack)));
      return;
    }
  }
  otherwise(request, response);
});

server.listen(port, '127.0.0.1', () => say({ event: 'ready', issuer }));
process.stdin.on('end', () => process.exit(0)).resume();
