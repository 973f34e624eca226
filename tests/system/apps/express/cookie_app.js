// An Express app with express-openid-connect: its whole session is one encrypted cookie, made anew with every answer.
//
// It knows nothing of back-channel logout or of a sidecar. What an operator may set is in the environment, under the
// library's own names: ISSUER_BASE_URL, CLIENT_ID, CLIENT_SECRET, BASE_URL, SECRET; and how the
// provider answers, RESPONSE_TYPE and RESPONSE_MODE, which are the library's defaults without that. The library finds everything else in
// the issuer's discovery document, and insists on finding it there.
//
// Usage: node cookie_app.js PORT. Ends when its standard input does, so that it never outlives a test run.

import { randomBytes } from 'node:crypto';

import express from 'express';
import { auth } from 'express-openid-connect';

const { RESPONSE_TYPE, RESPONSE_MODE } = process.env;
const app = express();
app.use(auth({
  authRequired: false,
  authorizationParams: { response_type: RESPONSE_TYPE, response_mode: RESPONSE_MODE, scope: 'openid profile' },
  routes: { login: '/login', callback: '/callback', logout: false },
  session: { cookie: { secure: false } },
}));

const button = (url, text) => `<form method="post" action="${url}"><button type="submit">${text}</button></form>`;
const nameOf = (request) => (request.oidc.isAuthenticated() ? request.oidc.user.sub : null);

app.get('/', (request, response) => response.send(`<h1>Home</h1><p id='who'>${nameOf(request) ?? 'nobody'}</p>`));

app.get('/private', (request, response) => {
  if (!request.oidc.isAuthenticated()) return response.oidc.login({ returnTo: '/private' });
  response.send(`<h1>Private</h1><p id='who'>${nameOf(request)}</p>${button('/logout', 'Log out')}`);
});

app.get('/api/me', (request, response) => {
  const user = nameOf(request);
  response.status(user ? 200 : 401).json({ user });
});

app.get('/settings', (request, response) => response.send(button('/settings', 'Another layout')));

app.post('/settings', (request, response) => {
  const { appSession } = request;
  if (appSession.layout) delete appSession.layout;
  else appSession.layout = randomBytes(3000).toString('hex'); // too much for one cookie: the library makes several
  response.redirect(303, '/private');
});

app.post('/logout', (request, response) => response.oidc.logout({ returnTo: '/' }));

app.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('ready'));
process.stdin.on('end', () => process.exit(0)).resume();
