// Node's cookie readers, each as a server of its own on loopback. Every answer says whether the request is of the
// session that was logged out: `revoked` or `other`. Prints one line of JSON when all listen: name to port, cookie name,
// values.
'use strict';

const http = require('node:http');
const cookie = require('cookie');
const cookieParser = require('cookie-parser');
const cookieSession = require('cookie-session');
const express = require('express');
const session = require('express-session');
const signature = require('cookie-signature');
const fastify = require('fastify');

const REVOKED = 'r7K2mQ9sXwB4nTzE6yUcP1vL8dJfHgA0';
const LIVE = 'l3V5oNqW8kZtR2xCbY7mS1uGdE9fJhA4';
const SECRET = 'made up for tests';
const said = (isRevoked) => (isRevoked ? 'revoked' : 'other');
const quiet = (_error, _request, response, _next) => response.status(400).send('other');

function bare() {
  return http.createServer((request, response) => {
    let found = {};
    try { found = cookie.parse(request.headers.cookie || ''); } catch { /* the app would fail as well */ }
    response.end(said(found.sid === REVOKED));
  });
}

function parsed() {
  const app = express();
  app.use(cookieParser());
  app.use((request, response) => response.send(said(request.cookies.sid === REVOKED)));
  app.use(quiet);
  return http.createServer(app);
}

async function stored() {
  const store = new session.MemoryStore();
  const expires = new Date(Date.now() + 3600000).toISOString();
  for (const [id, who] of [[REVOKED, 'revoked'], [LIVE, 'live']]) {
    await new Promise((done) => store.set(id, { who, cookie: { expires, originalMaxAge: 3600000 } }, done));
  }
  const app = express();
  app.use(session({ secret: SECRET, store, resave: false, saveUninitialized: false }));
  app.use((request, response) => response.send(said(request.session.who === 'revoked')));
  app.use(quiet);
  return http.createServer(app);
}

function signed() {
  const app = express();
  app.use(cookieSession({ name: 'sid', secret: SECRET }));
  app.use((request, response) => {
    if (request.query.login) request.session.who = request.query.login;
    response.send(said(request.session.who === 'revoked'));
  });
  app.use(quiet);
  return http.createServer(app);
}

async function fast() {
  const app = fastify();
  await app.register(require('@fastify/cookie'), { secret: SECRET });
  app.setErrorHandler((_error, _request, reply) => reply.code(400).send('other'));
  const answer = async (request) => {
    const { valid, value } = request.unsignCookie(request.cookies.sessionId || '');
    return said(valid && value === REVOKED);
  };
  app.all('/', answer);
  app.all('/*', answer);
  await app.ready();
  return app.server;
}

// The values of a signed session, as cookie-session writes them.
async function signedValues(port) {
  const ask = async (who) => {
    const response = await fetch(`http://127.0.0.1:${port}/?login=${who}`);
    return Object.fromEntries(response.headers.getSetCookie().map((line) => line.split(';')[0].split(/=(.*)/s)));
  };
  return [await ask('revoked'), await ask('live')];
}

async function main() {
  const stacks = {
    'node cookie': [bare(), 'sid', REVOKED, LIVE],
    'cookie-parser': [parsed(), 'sid', REVOKED, LIVE],
    'express-session': [
      await stored(), 'connect.sid', `s:${signature.sign(REVOKED, SECRET)}`, `s:${signature.sign(LIVE, SECRET)}`,
    ],
    'cookie-session': [signed(), 'sid'],
    '@fastify/cookie': [await fast(), 'sessionId', signature.sign(REVOKED, SECRET), signature.sign(LIVE, SECRET)],
  };
  const ready = {};
  for (const [name, [server, cookieName, revoked, live]] of Object.entries(stacks)) {
    if (!server.listening) await new Promise((done) => server.listen(0, '127.0.0.1', done));
    server.keepAliveTimeout = 0;
    ready[name] = { port: server.address().port, cookie: cookieName, revoked, live, companions: '' };
  }
  const [dead, alive] = await signedValues(ready['cookie-session'].port);
  Object.assign(ready['cookie-session'], { revoked: dead.sid, live: alive.sid });
  ready['cookie-session'].companions = `sid.sig=${dead['sid.sig']}`;
  console.log(JSON.stringify(ready));
  process.stdin.resume().on('end', () => process.exit(0));
}

main();
