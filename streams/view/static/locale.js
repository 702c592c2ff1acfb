// Where the system says no language ("en-US@posix" under LANG=C), numbers could not be written at all.
try {
  new Intl.NumberFormat(navigator.language);
} catch {
  Object.defineProperty(navigator, "language", { value: "en-US" });
}
