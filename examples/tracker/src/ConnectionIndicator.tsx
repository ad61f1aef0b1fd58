import { useConnectionState } from 'landfall/react';

const WORDS = {
  connecting: 'Connecting',
  connected: 'Live',
  disconnected: 'Offline',
  'needs-auth': 'Signed out',
  error: 'Problem',
  closed: 'Closed',
} as const;

const MEANINGS = {
  connecting: 'Looking for the server. You can go on working.',
  connected: 'Connected: changes arrive as they happen.',
  disconnected: 'No connection. You can go on working; your changes are sent when it is back.',
  'needs-auth': 'The server wants you to sign in again. Your changes are kept.',
  error: 'The server refused the connection. Your changes are kept.',
  closed: 'This page is closed.',
} as const;

export function ConnectionIndicator() {
  const { name } = useConnectionState();
  return (
    <span className="status" role="status" data-state={name} title={MEANINGS[name]}>
      <span className="dot" aria-hidden="true" />
      <span className="word">{WORDS[name]}</span>
      <span className="hidden">{MEANINGS[name]}</span>
    </span>
  );
}
