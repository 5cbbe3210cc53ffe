/**
 * The numbers that Linux gives to keys and buttons (input-event-codes.h), by the
 * names that browsers give to their places.
 */

export const EV_SYN = 0;
export const EV_KEY = 1;
export const EV_REL = 2;
export const EV_ABS = 3;
export const REL_X = 0;
export const REL_Y = 1;
export const REL_HWHEEL = 6;
export const REL_WHEEL = 8;

/** Keys in a row have numbers in a row. */
const row = (first, ...codes) => codes.map((code, place) => [code, first + place]);

/** `KeyboardEvent.code` to KEY_. */
export const KEYS = new Map([
  ...row(1, "Escape", "Digit1", "Digit2", "Digit3", "Digit4", "Digit5", "Digit6", "Digit7", "Digit8", "Digit9", "Digit0", "Minus", "Equal", "Backspace", "Tab"),
  ...row(16, "KeyQ", "KeyW", "KeyE", "KeyR", "KeyT", "KeyY", "KeyU", "KeyI", "KeyO", "KeyP", "BracketLeft", "BracketRight", "Enter", "ControlLeft"),
  ...row(30, "KeyA", "KeyS", "KeyD", "KeyF", "KeyG", "KeyH", "KeyJ", "KeyK", "KeyL", "Semicolon", "Quote", "Backquote", "ShiftLeft", "Backslash"),
  ...row(44, "KeyZ", "KeyX", "KeyC", "KeyV", "KeyB", "KeyN", "KeyM", "Comma", "Period", "Slash", "ShiftRight", "NumpadMultiply", "AltLeft", "Space", "CapsLock"),
  ...row(59, "F1", "F2", "F3", "F4", "F5", "F6", "F7", "F8", "F9", "F10", "NumLock", "ScrollLock"),
  ...row(71, "Numpad7", "Numpad8", "Numpad9", "NumpadSubtract", "Numpad4", "Numpad5", "Numpad6", "NumpadAdd", "Numpad1", "Numpad2", "Numpad3", "Numpad0", "NumpadDecimal"),
  ...row(86, "IntlBackslash", "F11", "F12", "IntlRo"),
  ...row(92, "Convert", "KanaMode", "NonConvert"),
  ...row(96, "NumpadEnter", "ControlRight", "NumpadDivide", "PrintScreen", "AltRight"),
  ...row(102, "Home", "ArrowUp", "PageUp", "ArrowLeft", "ArrowRight", "End", "ArrowDown", "PageDown", "Insert", "Delete"),
  ...row(113, "AudioVolumeMute", "AudioVolumeDown", "AudioVolumeUp"),
  ["NumpadEqual", 117],
  ["Pause", 119],
  ["NumpadComma", 121],
  ["Lang1", 122],
  ["Lang2", 123],
  ["IntlYen", 124],
  ...row(125, "MetaLeft", "MetaRight", "ContextMenu"),
  ...row(163, "MediaTrackNext", "MediaPlayPause", "MediaTrackPrevious", "MediaStop"),
  ...row(183, "F13", "F14", "F15", "F16", "F17", "F18", "F19", "F20", "F21", "F22", "F23", "F24"),
]);

/** `MouseEvent.button` to BTN_: left, middle, right, side, extra. */
export const BUTTONS = [0x110, 0x112, 0x111, 0x113, 0x114];

/** Buttons of a standard gamepad, in the order of browsers, to BTN_. */
export const PAD_BUTTONS = [
  0x130, 0x131, 0x134, 0x133, 0x136, 0x137, 0x138, 0x139, 0x13a, 0x13b, 0x13d, 0x13e,
  0x220, 0x221, 0x222, 0x223, 0x13c,
];

/** Its sticks to ABS_: X, Y, RX, RY. */
export const PAD_AXES = [0, 1, 3, 4];
