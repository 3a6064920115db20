// The page that asks for a token.

import { get, signIn, signOut } from "./api.js";
import { apiLine, el, put, say } from "./dom.js";

/** Shows it; `why` is what is wrong with the token before, `done` is called once the service accepts one. */
export function showSignIn(main, why, done) {
  const input = el("input", {
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "Token",
    "aria-label": "Token",
  });
  const error = el("p", { class: "error", role: "alert" }, why ?? "");
  const button = el("button", { type: "button", class: "primary" }, "Sign in");
  const enter = async () => {
    if (!input.value.trim()) return input.focus();
    button.disabled = true;
    signIn(input.value);
    try {
      done(await get("/api/v1/whoami"));
    } catch (failure) {
      if (!failure.isAway) signOut();
      say(error, failure.message);
      button.disabled = false;
      input.select();
    }
  };
  button.addEventListener("click", enter);
  input.addEventListener("keydown", (event) => event.key === "Enter" && enter());
  put(
    main,
    el(
      "section",
      { class: "card sign-in" },
      el("h1", {}, "Sign in"),
      el("p", {}, "Paste a token of this service. This tab of the browser keeps it until you close it."),
      el("div", { class: "field" }, input, button),
      error,
      el(
        "p",
        { class: "hint" },
        "Tokens stand in the tenants file. That of an operator of the host is in ",
        el("code", {}, "operator.token"),
        " in the state directory of the service.",
      ),
      apiLine("GET /api/v1/whoami"),
    ),
  );
  input.focus();
}
