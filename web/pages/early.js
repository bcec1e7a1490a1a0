// Runs before the first paint, so that a remembered light or dark does not flash. A classic script:
// modules run later.
(() => {
  const theme = localStorage.getItem("tertulia.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset["theme"] = theme;
})();
