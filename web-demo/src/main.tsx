// Opens the engine, then shows the app; says so if the engine cannot start.
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { App } from './App';
import { keepUserName, userName } from './device';
import { openHere } from './open';
import './style/base.css';
import './style/side.css';
import './style/messages.css';

const root = document.getElementById('root');
if (!root) throw new Error('index.html has no #root');
const page = createRoot(root);

/** Shows the app of one user; another name is another client. */
async function show(user: string): Promise<void> {
  try {
    const client = await openHere(user);
    const rename = async (name: string): Promise<void> => {
      keepUserName(name);
      page.render(null);
      await client[Symbol.asyncDispose]();
      await show(name);
    };
    page.render(
      <StrictMode>
        <App key={user} client={client} onRename={rename} />
      </StrictMode>,
    );
  } catch (error) {
    page.render(
      <p role="alert" className="fatal">
        Backscroll could not start: {error instanceof Error ? error.message : String(error)}
      </p>,
    );
  }
}

// The next visit needs no network. Without it, as in a private window of some browsers, this one works the same.
if (import.meta.env.PROD && 'serviceWorker' in navigator) {
  navigator.serviceWorker.register('/sw.js').catch((error: unknown) => {
    console.warn('This page will not open without a network:', error);
  });
}

void show(userName());
