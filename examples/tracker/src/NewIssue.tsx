import { useQuery, useZero } from 'landfall/react';
import { type FormEvent, useEffect, useRef } from 'react';
import { mutators } from '../shared/mutators.ts';
import { type Priority, queries } from '../shared/queries.ts';
import { newID } from './newID.ts';
import { goTo, issuePath } from './route.ts';
import { PRIORITIES } from './words.ts';
import { write } from './write.ts';

export function NewIssue({ onClose }: { onClose: () => void }) {
  const zero = useZero();
  const [users] = useQuery(queries.users());
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    dialog.current?.showModal();
  }, []);

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const id = newID();
    const done = await write(zero.mutate(mutators.issue.create({
      id,
      title: String(form.get('title')),
      description: String(form.get('description')),
      priority: String(form.get('priority')) as Priority,
      assigneeID: String(form.get('assignee')) || null,
      created: Date.now(),
    })));
    if (!done) return;
    onClose();
    goTo(issuePath(id));
  }

  return (
    <dialog ref={dialog} onClose={onClose} aria-labelledby="new-issue">
      <form className="form" onSubmit={event => void submit(event)}>
        <h2 id="new-issue">New issue</h2>
        <label>Title<input name="title" required maxLength={200} autoFocus /></label>
        <label>Description<textarea name="description" rows={6} /></label>
        <label>
          Priority
          <select name="priority" defaultValue="medium">
            {PRIORITIES.map(({ value, word }) => <option key={value} value={value}>{word}</option>)}
          </select>
        </label>
        <label>
          Assignee
          <select name="assignee" defaultValue="">
            <option value="">Nobody</option>
            {users.map(user => <option key={user.id} value={user.id}>{user.name}</option>)}
          </select>
        </label>
        <div className="actions">
          <button type="button" onClick={() => dialog.current?.close()}>Cancel</button>
          <button type="submit" className="primary">Create</button>
        </div>
      </form>
    </dialog>
  );
}
