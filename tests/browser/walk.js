// Walks the status page in a real browser: node walk.js WALK '{"url": "http://127.0.0.1:8350", ...}'
// Ends with 0 when all was as it should be, and says else what was not.
"use strict";
const { chromium } = require("playwright-core");
const axe = require("axe-core");

const [walk, words] = process.argv.slice(2);
const told = JSON.parse(words);
const LIMIT = 30000;
const PHONE = { width: 375, height: 740 };
const DESK = { width: 1240, height: 800 };

function must(holds, what) {
  if (!holds) throw new Error(what);
}

async function login(page, name = told.name, secret = told.secret) {
  await page.goto(told.url + "/page");
  must(page.url().includes("/page/login"), "whoever is not logged in gets the form, not " + page.url());
  await page.getByLabel("Name").fill(name);
  await page.getByLabel("Secret").fill(secret);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.waitForURL(told.url + "/page");
}

async function open(browser, options = {}) {
  const context = await browser.newContext({ viewport: DESK, ...options });
  context.setDefaultTimeout(LIMIT);
  const page = await context.newPage();
  const wrong = [];
  page.on("console", (line) => { if (line.type() === "error") wrong.push(line.text()); });
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("requestfailed", (request) => {
    if (request.failure()?.errorText !== "net::ERR_ABORTED") wrong.push("no answer: " + request.url());
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(told.url)) wrong.push("asks elsewhere: " + request.url());
  });
  return { page, wrong, context };
}

// No barriers that can be found by a program, and nothing beside the screen.
async function fits(page, place) {
  await page.evaluate(axe.source);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const said = found.violations.map((one) => one.id + ": " + one.help + " "
    + one.nodes.map((node) => node.target.join(" ") + " (" + node.failureSummary + ")").join("; "));
  must(said.length === 0, place + ": " + said.join("\n"));
  const over = await page.evaluate(() => document.scrollingElement.scrollWidth - window.innerWidth);
  must(over <= 0, place + " is " + over + " pixels wider than the screen");
}

async function places(page) {
  await page.goto(told.url + "/page/held");
  const item = await page.locator("tbody th a").first().getAttribute("href");
  const drop = "/page/held/drop?" + item.split("?")[1];
  return ["/page", "/page/held", item, drop, "/page/trace", "/page/trace?key=" + told.key,
    "/page/trace?key=nothing-of-this", "/page/destinations", "/page/mappings", "/page/audit"];
}

async function pressUntil(page, key, holds, what) {
  for (let n = 0; n < 120; n++) {
    await page.keyboard.press(key);
    if (await page.evaluate(holds.does, holds.with)) return;
  }
  throw new Error("the keyboard does not reach " + what);
}

const focused = (text) => ({
  does: (text) => (document.activeElement?.textContent ?? "").trim().startsWith(text),
  with: text,
});

async function retriedByKey(page, key) {
  const row = page.getByRole("row").filter({ hasText: key });
  await row.getByRole("button", { name: "Retry" }).click();
  await page.getByText("1 event sent again.").waitFor();
  must(await page.getByRole("row").filter({ hasText: key }).count() === 0, key + " is not held any more");
}

async function pausedAndResumed(page) {
  await page.goto(told.url + "/page/destinations");
  await page.getByLabel("How long shop pauses").selectOption({ label: "for 1 hour" });
  await page.getByRole("button", { name: "Pause shop" }).click();
  await page.getByText("shop is paused for 1 hour").waitFor();
  await page.goto(told.url + "/page/destinations");
  const row = page.getByRole("row").filter({ hasText: "shop" });
  must((await row.textContent()).includes("paused until"), "the page says that it is paused");
  await page.getByRole("button", { name: "Resume shop" }).click();
  await page.getByText("shop goes on.").waitFor();
}

const walks = {
  // Every page, in both lights, on a desk and on a phone.
  async look(browser) {
    for (const colorScheme of ["light", "dark"]) {
      for (const viewport of [DESK, PHONE]) {
        const { page, wrong, context } = await open(browser, { colorScheme, viewport });
        await page.goto(told.url + "/page/login");
        await fits(page, "the login");
        await login(page);
        for (const place of await places(page)) {
          await page.goto(told.url + place);
          await fits(page, colorScheme + " " + viewport.width + " " + place);
        }
        must(wrong.length === 0, wrong.join("\n"));
        await context.close();
      }
    }
    const ground = async (colorScheme) => {
      const { page, context } = await open(browser, { colorScheme });
      await page.goto(told.url + "/page/login");
      const color = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      await context.close();
      return color;
    };
    must(await ground("light") !== await ground("dark"), "light and dark differ");
  },

  async sentence(browser) {
    const { page, wrong } = await open(browser);
    await login(page);
    await page.getByRole("heading", { level: 1, name: told.sentence }).waitFor();
    await page.getByText("Source erp is captured").waitFor();
    // It comes up to date by itself.
    const made = await page.locator("#made").textContent();
    await page.waitForFunction((made) => document.getElementById("made").textContent !== made, made);
    await page.getByRole("button", { name: "Log out" }).click();
    await page.waitForURL(told.url + "/page/login");
    await page.goto(told.url + "/page/held");
    must(page.url().includes("/page/login"), "whoever logged out is out");
    must(wrong.length === 0, wrong.join("\n"));
  },

  async retry(browser) {
    const { page, wrong } = await open(browser);
    await login(page);
    await page.getByRole("link", { name: "Held", exact: true }).click();
    await retriedByKey(page, told.key);
    must(wrong.length === 0, wrong.join("\n"));
  },

  async drop(browser) {
    const { page } = await open(browser);
    await login(page);
    await page.goto(told.url + "/page/held");
    const row = page.getByRole("row").filter({ hasText: told.key });
    await row.getByRole("button", { name: "Drop" }).click();
    await page.getByRole("heading", { name: "Drop what is held?" }).waitFor();
    await page.getByLabel("Why, for the record").fill("the article is gone");
    await page.getByRole("button", { name: "Drop 1 item" }).click();
    await page.getByText("1 held item given up.").waitFor();
    must(await page.getByRole("row").filter({ hasText: told.key }).count() === 0, "it is not held any more");
  },

  async pause(browser) {
    const { page, wrong } = await open(browser);
    await login(page);
    await pausedAndResumed(page);
    must(wrong.length === 0, wrong.join("\n"));
  },

  async trace(browser) {
    const { page, wrong } = await open(browser);
    await login(page);
    await page.getByRole("link", { name: "Trace", exact: true }).click();
    await page.getByLabel("Any piece of the key").fill(told.key);
    await page.getByRole("button", { name: "Trace" }).click();
    await page.getByRole("heading", { name: told.key }).first().waitFor();
    await page.getByText("delivered").first().waitFor();
    must(wrong.length === 0, wrong.join("\n"));
  },

  // Without a mouse: in, past the links, to the held item, and retried.
  async keyboard(browser) {
    const { page } = await open(browser);
    await page.goto(told.url + "/page/held");
    await page.keyboard.type(told.name);
    await page.keyboard.press("Tab");
    await page.keyboard.type(told.secret);
    await page.keyboard.press("Enter");
    // Back to where one wanted to go.
    await page.waitForURL(told.url + "/page/held");
    await page.keyboard.press("Tab");
    must(await page.evaluate(() => document.activeElement.className === "skip"), "the first stop skips the links");
    await pressUntil(page, "Tab", focused("Mappings"), "the links");
    const seen = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    must(seen !== "none", "where the focus is can be seen");
    await pressUntil(page, "Tab", focused("Retry: " + told.key), "the button of " + told.key);
    await page.keyboard.press("Enter");
    await page.getByText("1 event sent again.").waitFor();
  },

  async noscript(browser) {
    const { page } = await open(browser, { javaScriptEnabled: false });
    await login(page);
    await page.getByRole("heading", { level: 1, name: told.sentence }).waitFor();
    await page.goto(told.url + "/page/held");
    await retriedByKey(page, told.key);
    await pausedAndResumed(page);
    // What was sent again has been delivered when its answer is in.
    for (let n = 0; n < 100; n++) {
      await page.goto(told.url + "/page/trace?key=" + encodeURIComponent(told.key));
      if (await page.getByText("delivered", { exact: true }).count() > 0) return;
      await page.waitForTimeout(200);
    }
    throw new Error("the trace does not say that it was delivered");
  },

  // For the pages of the documentation.
  async shots(browser) {
    for (const [colorScheme, place, name] of [
      ["light", "/page", "status-light"], ["dark", "/page", "status-dark"],
      ["light", "/page/held", "held"], ["light", "/page/trace?key=" + told.key, "trace"],
    ]) {
      const { page, context } = await open(browser, { colorScheme, viewport: { width: 1120, height: 900 } });
      await login(page);
      await page.goto(told.url + place);
      await page.screenshot({ path: told.folder + "/" + name + ".png", fullPage: true });
      await context.close();
    }
    const { page } = await open(browser, { viewport: PHONE });
    await login(page);
    await page.screenshot({ path: told.phone, fullPage: true });
  },

  // What a terminal shows, as a picture.
  async terminal(browser) {
    const context = await browser.newContext({ viewport: { width: 1600, height: 1000 } });
    const page = await context.newPage();
    await page.setContent(told.html);
    await page.locator("pre").screenshot({ path: told.file });
  },
};

(async () => {
  const browser = await chromium.launch({
    executablePath: told.chromium,
    // As root it has no sandbox; it sees nothing but the page under test.
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
  });
  try {
    await walks[walk](browser);
  } finally {
    await browser.close();
  }
})().catch((error) => {
  console.error(String(error.stack ?? error));
  process.exit(1);
});
