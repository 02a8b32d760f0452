// Opens the engine, then shows the app; says so if the engine cannot start.
import { openClient } from 'backscroll';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { App } from './App';
import { userName } from './user';
import './style.css';

const root = document.getElementById('root');
if (!root) throw new Error('index.html has no #root');
const page = createRoot(root);

const relay = new URL('/sync', location.href);
relay.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';

openClient({ user: userName(), relay: relay.href, storage: 'memory' }).then(
  (client) => {
    page.render(
      <StrictMode>
        <App client={client} />
      </StrictMode>,
    );
  },
  (error: unknown) => {
    page.render(<p role="alert">Backscroll could not start: {String(error)}</p>);
  },
);
