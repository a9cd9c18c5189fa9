/** What is likely wrong in a script; how it looks is nobody's business here. */

const browser = [
  "document", "window", "localStorage", "navigator", "setTimeout", "clearTimeout", "Blob", "FocusEvent",
  "ResizeObserver", "URL", "URLSearchParams", "Node", "Intl",
];

export default [
  {
    files: ["web/*.js"],
    languageOptions: {
      ecmaVersion: 2022,
      sourceType: "module",
      globals: Object.fromEntries(browser.map((name) => [name, "readonly"])),
    },
    rules: {
      "no-undef": "error",
      "no-unused-vars": ["error", { varsIgnorePattern: "^_", destructuredArrayIgnorePattern: "^_" }],
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-new-func": "error",
      "no-var": "error",
      "prefer-const": "error",
      eqeqeq: ["error", "always", { null: "ignore" }],
      // Names and metadata are other people's: they are text, wherever they are shown.
      "no-restricted-properties": [
        "error",
        ...["innerHTML", "outerHTML", "insertAdjacentHTML"].map((property) => ({ property })),
      ],
    },
  },
];
