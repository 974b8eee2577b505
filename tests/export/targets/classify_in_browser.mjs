// Opens pages in headless Chromium, gives each its images as a person would, and prints what the pages show.
// Arguments: the folder of playwright-core, Chromium, and a JSON list of [page's address, images, screenshot or nothing];
// an image is a file, or "camera" for ten or more frames of a camera that Chromium makes up.
import { createRequire } from "node:module";
const [, , packages, executablePath, jobs] = process.argv;
const { chromium } = createRequire(`${packages}/`)("playwright-core");
const quiet = ["gpu", "quic", "background-networking", "component-update", "sync"].map((name) => `--disable-${name}`);
const camera = ["device", "ui"].map((name) => `--use-fake-${name}-for-media-stream`);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--no-first-run", ...quiet, ...camera] });
const shown = [];
for (const [address, images, screenshot] of JSON.parse(jobs)) {
  const page = await browser.newPage({ viewport: { width: 1000, height: 760 } });
  const foreign = [];
  page.on("request", (request) => {
    if (!/^(blob|data):/.test(request.url()) && new URL(request.url()).origin !== new URL(address).origin) {
      foreign.push(request.url());
    }
  });
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(`${error}`));
  await page.goto(address);
  const problem = await page.evaluate(() => kerasSE.ready.then(() => null, (error) => error.message));
  const results = [];
  for (const image of problem ? [] : images) {
    await page.evaluate(() => document.getElementById("inference").textContent = "");
    if (image === "camera") {
      await page.click("#camera");
      await page.waitForFunction(() => /of [1-3]\d\)/.test(document.getElementById("inference").textContent));
      await page.click("#camera");
    } else {
      await page.setInputFiles("#file", image);
      await page.waitForFunction(() => document.getElementById("inference").textContent.includes("ms"));
    }
    const names = await page.locator("#scores li span:first-of-type").allTextContents();
    const inference = await page.locator("#inference").textContent();
    results.push({ names, inference, ...(await page.evaluate(() => kerasSE.last)) });
  }
  if (screenshot) await page.screenshot({ path: screenshot, fullPage: true });
  shown.push({ problem, results, foreign, wrong, title: await page.title() });
  await page.close();
}
await browser.close();
console.log(JSON.stringify(shown));
