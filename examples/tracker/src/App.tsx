import { useState } from 'react';
import { ConnectionIndicator } from './ConnectionIndicator.tsx';
import { IssueList } from './IssueList.tsx';
import { IssuePage } from './IssuePage.tsx';
import { NewIssue } from './NewIssue.tsx';
import { PendingWrites } from './PendingWrites.tsx';
import { goTo, useOpenIssue } from './route.ts';

export function App() {
  const openIssue = useOpenIssue();
  const [writing, setWriting] = useState(false);
  return (
    <div className="app">
      <header className="bar">
        <h1>
          <a href="/" onClick={event => { event.preventDefault(); goTo('/'); }}>
            <img src="/icon.svg" alt="" /><span>Tracker</span>
          </a>
        </h1>
        <div className="space" />
        <PendingWrites />
        <ConnectionIndicator />
        <button type="button" className="primary" onClick={() => setWriting(true)}>New issue</button>
      </header>
      {/* The list stays mounted behind an open issue: its place and its data are there on the way back. */}
      <IssueList hidden={openIssue !== undefined} onNew={() => setWriting(true)} />
      {openIssue !== undefined && <IssuePage key={openIssue} id={openIssue} />}
      {writing && <NewIssue onClose={() => setWriting(false)} />}
    </div>
  );
}
