import { useQuery, useZero } from 'landfall/react';
import { type FormEvent, useEffect, useRef, useState } from 'react';
import { mutators } from '../shared/mutators.ts';
import { type Priority, queries } from '../shared/queries.ts';
import { newID } from './newID.ts';
import { goTo } from './route.ts';
import { useEmptyText } from './useEmptyText.ts';
import { exactly, PRIORITIES, when } from './words.ts';
import { write } from './write.ts';

export function IssuePage({ id }: { id: string }) {
  const zero = useZero();
  const [issue, details] = useQuery(queries.issues.byID(id), { ttl: '10m' });
  const emptyText = useEmptyText(details, 'There is no such issue; it may have been deleted.');
  const [users] = useQuery(queries.users());
  const [labels] = useQuery(queries.labels());
  const back = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    back.current?.focus();
    const leave = (event: KeyboardEvent) => {
      if (event.key === 'Escape' && !event.defaultPrevented && !document.querySelector('dialog[open]')) goTo('/');
    };
    addEventListener('keydown', leave);
    return () => removeEventListener('keydown', leave);
  }, []);

  if (!issue) {
    return (
      <main className="issue">
        <p className="empty">
          {emptyText}<br /><br />
          <button ref={back} type="button" onClick={() => goTo('/')}>Back to the list</button>
        </p>
      </main>
    );
  }

  const change = (fields: Partial<{ title: string; description: string; priority: Priority; open: boolean; assigneeID: string | null }>) =>
    write(zero.mutate(mutators.issue.update({ id, ...fields, modified: Date.now() })));

  async function remove() {
    if (!confirm(`Delete “${issue!.title}” and its comments?`)) return;
    if (await write(zero.mutate(mutators.issue.delete({ id })))) goTo('/');
  }

  return (
    <main className="issue">
      <article aria-label={issue.title}>
        <div><button ref={back} type="button" className="plain" onClick={() => goTo('/')}>← All issues</button></div>
        <div className="heading">
          <EditableText label="Title" value={issue.title} rows={1} onSave={title => change({ title })} />
          <button type="button" onClick={() => void change({ open: !issue.open })}>{issue.open ? 'Close issue' : 'Reopen'}</button>
        </div>
        <p className="meta">
          {issue.creator?.name ?? 'Somebody'} opened this <time dateTime={new Date(issue.created).toISOString()} title={exactly(issue.created)}>{when(issue.created)}</time>
          {' · changed '}<time title={exactly(issue.modified)}>{when(issue.modified)}</time>
        </p>
        <div className="fields">
          <label>
            Priority
            <select value={issue.priority} onChange={event => void change({ priority: event.target.value as Priority })}>
              {PRIORITIES.map(({ value, word }) => <option key={value} value={value}>{word}</option>)}
            </select>
          </label>
          <label>
            Assignee
            <select value={issue.assigneeID ?? ''} onChange={event => void change({ assigneeID: event.target.value || null })}>
              <option value="">Nobody</option>
              {users.map(user => <option key={user.id} value={user.id}>{user.name}</option>)}
            </select>
          </label>
        </div>
        <div className="labels-editor" role="group" aria-label="Labels">
          {labels.map(label => {
            const set = issue.labels.some(({ id }) => id === label.id);
            const link = { issueID: id, labelID: label.id };
            return (
              <button key={label.id} type="button" aria-pressed={set}
                onClick={() => void write(zero.mutate(set ? mutators.issue.removeLabel(link) : mutators.issue.addLabel(link)))}>
                <span className="label"><span className="swatch" style={{ background: label.color }} />{label.name}</span>
              </button>
            );
          })}
        </div>
        <EditableText label="Description" className="text" value={issue.description} rows={6} onSave={description => change({ description })} />
        <h2>{issue.comments.length === 1 ? '1 comment' : `${issue.comments.length} comments`}</h2>
        {issue.comments.map(comment => (
          <section key={comment.id} className="comment">
            <header>
              <strong>{comment.author?.name ?? 'Somebody'}</strong>
              <time title={exactly(comment.created)}>{when(comment.created)}</time>
              <span className="space" />
              <button type="button" className="plain danger" aria-label="Delete this comment"
                onClick={() => void write(zero.mutate(mutators.comment.remove({ id: comment.id })))}>Delete</button>
            </header>
            <p>{comment.body}</p>
          </section>
        ))}
        <NewComment issueID={id} />
        <div><button type="button" className="danger" onClick={() => void remove()}>Delete issue</button></div>
      </article>
    </main>
  );
}

/** Text that is saved when it is left, or with Ctrl-Enter; Escape takes the edit back. */
function EditableText({ label, value, rows, className, onSave }: {
  label: string; value: string; rows: number; className?: string; onSave: (value: string) => Promise<boolean>;
}) {
  const [draft, setDraft] = useState<string>();
  const save = async () => {
    if (draft !== undefined && draft !== value) await onSave(draft);
    setDraft(undefined);
  };
  return (
    <textarea
      aria-label={label} className={className} rows={rows} value={draft ?? value}
      onChange={event => setDraft(event.target.value)}
      onBlur={() => void save()}
      onKeyDown={event => {
        if (event.key === 'Escape' && draft !== undefined) {
          event.preventDefault();
          setDraft(undefined);
        } else if (event.key === 'Enter' && (event.ctrlKey || event.metaKey || rows === 1)) {
          event.preventDefault();
          event.currentTarget.blur();
        }
      }}
    />
  );
}

function NewComment({ issueID }: { issueID: string }) {
  const zero = useZero();
  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const body = String(new FormData(form).get('body'));
    if (await write(zero.mutate(mutators.comment.add({ id: newID(), issueID, body, created: Date.now() })))) form.reset();
  }
  return (
    <form className="form" onSubmit={event => void submit(event)}>
      <label>Comment<textarea name="body" required rows={3} onKeyDown={event => {
        if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) event.currentTarget.form?.requestSubmit();
      }} /></label>
      <div className="actions"><button type="submit" className="primary">Comment</button></div>
    </form>
  );
}
