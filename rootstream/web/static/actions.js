/**
 * What the page asks the program to do, and what came of it.
 */
import { byId, setText } from "./dom.js";
import { sentenceOf } from "./line.js";

let csrf = "";
let commands = new Set();

/** Take what the program said that this page may do. */
export function permit(hello) {
  csrf = hello.csrf;
  commands = new Set(hello.commands);
}

export const isPermitted = (name) => commands.has(name);

/** Ask; the answer, or an Error whose message is a sentence. */
export async function ask(name, argument) {
  let answer;
  try {
    answer = await fetch(`/api/${name}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Rootstream": csrf },
      body: JSON.stringify(argument),
    });
  } catch {
    throw new Error("The program does not answer.");
  }
  if (!answer.ok) throw new Error(await sentenceOf(answer));
  return answer.json();
}

/** Say what came of a request, where everybody sees and hears it. */
export function report(text, mood = "good") {
  const node = byId("answer");
  node.dataset.mood = mood;
  setText(node, text);
}

/** Ask on behalf of a button, which rests meanwhile; `words(answer)` tell what came of it. */
export async function press(button, name, argument, words) {
  button.disabled = true;
  button.setAttribute("aria-busy", "true");
  try {
    const answer = await ask(name, argument);
    report(words(answer));
  } catch (error) {
    report(error.message, "bad");
  }
  button.removeAttribute("aria-busy");
  button.disabled = false;
}
