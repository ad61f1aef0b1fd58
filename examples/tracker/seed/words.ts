// What the seeded issues are made of: the tracker of an imagined drawing program called Atelier.

export const FIRST_NAMES = [
  'Ada', 'Björn', 'Chidi', 'Daria', 'Emeka', 'Fatima', 'Gustavo', 'Hana', 'Ines', 'Jonas', 'Kalinda', 'Luca',
  'Mei', 'Nadia', 'Oskar', 'Priya', 'Quentin', 'Rosa', 'Sofía', 'Tomasz', 'Uma', 'Viktor', 'Wanjiru', 'Yuki', 'Zoë',
];

export const LAST_NAMES = [
  'Abebe', 'Brandt', 'Castillo', 'Dubois', 'Eriksen', 'Fischer', 'García', 'Haddad', 'Ito', 'Jansen', 'Kowalska',
  'Lindqvist', 'Moreau', 'Novák', 'Okafor', 'Petrov', 'Quispe', 'Rossi', 'Şahin', 'Tanaka',
];

export const LABELS = [
  ['bug', 'Bug', '#d1453b'],
  ['feature', 'Feature', '#2f80c3'],
  ['regression', 'Regression', '#b5308a'],
  ['performance', 'Performance', '#c77d0a'],
  ['crash', 'Crash', '#8f1d14'],
  ['docs', 'Documentation', '#3c8f5a'],
  ['a11y', 'Accessibility', '#6b4fbb'],
  ['mobile', 'Mobile', '#0f8b8d'],
  ['windows', 'Windows', '#4a6fa5'],
  ['macos', 'macOS', '#5f6b7a'],
  ['linux', 'Linux', '#a67c00'],
  ['sync', 'Sync', '#1f9e6e'],
  ['design', 'Design', '#d46aa0'],
  ['good-first', 'Good first issue', '#6a9a1f'],
  ['wontfix', 'Won’t fix', '#8a8a8a'],
] as const;

export const PARTS = [
  'Layer panel', 'Colour picker', 'Export dialog', 'Brush engine', 'Text tool', 'Undo history', 'Canvas', 'File browser',
  'Shortcut editor', 'Plug-in manager', 'Selection tool', 'Gradient editor', 'Font menu', 'Ruler', 'Snap to grid',
  'Print preview', 'Crash reporter', 'Welcome screen', 'Shared library', 'Comment sidebar', 'Version history',
  'Palette import', 'SVG import', 'PDF export', 'Touch bar', 'Pen pressure', 'Masks', 'Symbols', 'Artboards', 'Search field',
];

export const PROBLEMS = [
  'loses focus', 'shows stale values', 'freezes for several seconds', 'ignores the last change', 'draws one pixel off',
  'forgets its settings', 'opens on the wrong screen', 'does not scroll', 'flickers', 'reports the wrong size',
  'keeps a file locked', 'uses all memory', 'jumps to the top', 'shows the wrong cursor', 'cannot be closed',
  'duplicates the first item', 'drops the alpha channel', 'rounds coordinates', 'sorts numbers as text', 'swallows the Enter key',
  'shows untranslated text', 'is unreadable in dark mode', 'does not follow the zoom', 'writes an empty file',
];

export const OCCASIONS = [
  'after waking from sleep', 'with more than 500 layers', 'when the network drops', 'on a second monitor', 'after an undo',
  'while a file is being saved', 'with a pen and no mouse', 'in a right-to-left language', 'when two people edit at once',
  'after updating to 4.2', 'in full screen', 'with a screen reader', 'on files from 3.x', 'when the disk is full',
  'at 200 % scaling', 'in read-only documents', 'with very long names', 'after switching accounts', 'in private windows',
  'when dragging quickly', 'with CMYK documents', 'if the font is missing', 'on the first start', 'during playback',
];

export const WISHES = [
  'Let the {part} be resized', 'Remember the last tab of the {part}', 'Keyboard shortcut to open the {part}',
  'Show units in the {part}', 'Copy and paste between documents in the {part}', 'Drag and drop into the {part}',
  'Search inside the {part}', 'Group entries of the {part}', 'Preview on hover in the {part}', 'Lock entries in the {part}',
  'Undo for changes made in the {part}', 'Bigger touch targets in the {part}', 'Custom order in the {part}',
  'Export everything from the {part} at once', 'Share the state of the {part} by link',
];

export const OPENINGS = [
  'This started with the last update.', 'I can reproduce this every time.', 'It happens perhaps one time in five.',
  'Three customers wrote to us about this in one week.', 'Found while testing the new release.',
  'We rely on this every day, so it hurts.', 'Not urgent, but it adds up.', 'A colleague sees the same on another machine.',
  'I searched for an older report and found none.', 'This worked for years.',
];

export const STEPS = [
  'Open any document with a few layers.', 'Select two objects and group them.', 'Zoom in to about 300 %.',
  'Leave the program idle for ten minutes.', 'Switch to another document and back.', 'Press Ctrl+Z several times.',
  'Change a value and do not press Enter.', 'Drag the panel to another place.', 'Save under a new name.',
  'Turn the option off and on again.', 'Rotate the canvas by 90°.', 'Rename the first entry.', 'Close the lid, wait, open it.',
];

export const OUTCOMES = [
  'Expected: nothing is lost. Found: the last change is gone.', 'Expected: it takes a moment. Found: it never ends.',
  'The log says nothing at all.', 'The log has “index out of range” many times.', 'After a restart all is well again.',
  'A restart does not help.', 'Turning hardware acceleration off helps.', 'It also happens with a fresh profile.',
  'The same file is fine on another machine.', 'A screen recording is attached to the first comment.',
];

export const REMARKS = [
  'I see this as well, on {version}.', 'Could you attach the file, or one that is reduced to what matters?',
  'Thanks for the clear steps! I can reproduce it.', 'Not able to reproduce on {os}. Which build is it?',
  'This is the same cause as the flicker fixed in {version}, I think.', 'Bisected: it came with the new {part}.',
  'A workaround: close the {part} before saving.', 'Taking this one.', 'Unassigning, I will not get to it this month.',
  'Fixed on main, to be in the next release.', 'Reopening: it still happens in {version}.', 'Is anybody looking at this?',
  'The design for this is ready; see the board.', '+1 from our studio, 40 seats.', 'Let us talk about it on Thursday.',
  'Raising the priority: a customer lost work.', 'I would rather not add an option for it.', 'Tests are missing, otherwise good.',
  'It is slower, but correct now. A faster way can follow.', 'Please keep the old behaviour behind a setting.',
  'Confirmed on {os} with the {part} open.', 'The crash report points at the {part}.', 'Documentation is updated.',
  'Can we close this? Nobody has seen it since {version}.', 'Danke! Works for me.', '没问题了, thank you.', 'Nice catch 🎯',
  'Measured: 1,400 ms before, 90 ms after.', 'I wrote down what I know in the description.', 'Waiting for an answer from the vendor of the font.',
];

export const SYSTEMS = ['Windows 11', 'macOS 15', 'Ubuntu 24.04', 'Fedora 42', 'iPadOS 18', 'Android 15'];
export const BROWSERS = ['Firefox 139', 'Chrome 137', 'Safari 18', 'Edge 137'];
export const VERSIONS = ['3.9.4', '4.0.0', '4.0.2', '4.1.0', '4.1.3', '4.2.0', '4.2.1', '4.3.0-beta.2'];
