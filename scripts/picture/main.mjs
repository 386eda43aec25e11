// Draws the dashboard into docs/ (`make picture`), with the data of a demo that runs through some incidents. With the
// address of a Prometheus and a number of minutes as arguments, it uses that data instead.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';
import { dashboard } from './data.mjs';
import { story } from './story.mjs';

const WIDTH = 1440;
const require = createRequire(import.meta.url);
const here = (name) => new URL(name, import.meta.url).pathname;

const browser = await chromium.launch({ executablePath: process.env.WARREN_CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
const picture = async (prometheus, range) => {
  const board = await dashboard(prometheus, range);
  const page = await browser.newPage({ viewport: { width: WIDTH, height: 1000 } });
  page.on('pageerror', (error) => console.error(error));
  const font = readFileSync(require.resolve('@fontsource-variable/inter/files/inter-latin-wght-normal.woff2'), 'base64');
  await page.setContent(`<style>@font-face { font-family: Inter; font-weight: 100 900; src: url(data:font/woff2;base64,${font}); }</style>`);
  await page.addStyleTag({ path: require.resolve('uplot/dist/uPlot.min.css') });
  await page.addStyleTag({ path: here('style.css') });
  await page.addScriptTag({ path: require.resolve('uplot/dist/uPlot.iife.min.js') });
  for (const script of ['format.js', 'draw.js', 'shrink.js']) await page.addScriptTag({ path: here(script) });
  await page.evaluate(() => document.fonts.load('500 12px Inter'));
  await page.evaluate((it) => draw(it), board);
  const shoot = async (file, clip) => {
    const image = await page.screenshot({ fullPage: true, clip });
    const small = await page.evaluate((it) => shrink(it), image.toString('base64'));
    writeFileSync(here(`../../docs/${file}`), Buffer.from(small, 'base64'));
  };
  await shoot('dashboard.png');
  // The first row alone, as a preview.
  const height = await page.locator('section.row').nth(1).evaluate((row) => row.getBoundingClientRect().top);
  await shoot('dashboard-users.png', { x: 0, y: 0, width: WIDTH, height });
};

try {
  const [address, minutes = 10] = process.argv.slice(2);
  const now = Date.now() / 1000;
  await (address ? picture(address, { from: now - minutes * 60, to: now }) : story(browser, picture));
} finally {
  await browser.close();
}
