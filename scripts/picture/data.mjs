// Data of the dashboard: the results of its queries from a Prometheus.
import { readFileSync } from 'node:fs';

const FILE = new URL('../../charts/warren/dashboards/warren.json', import.meta.url);

/** The dashboard, with the resulting series added to each target and annotation. */
export async function dashboard(prometheus, { from, to }) {
  const board = JSON.parse(readFileSync(FILE));
  const ask = async (path, parameters = {}) => {
    const response = await fetch(`${prometheus}/api/v1/${path}?${new URLSearchParams(parameters)}`);
    const { data, error } = await response.json();
    if (error) throw new Error(`${error}: ${parameters.query}`);
    return data.result ?? data;
  };
  const { yaml } = await ask('status/config');
  const scrape = Number(yaml.match(/scrape_interval: (\d+)s/)[1]);
  const [namespace] = await ask('label/namespace/values', { 'match[]': 'warren_build_info' });
  const pods = await ask('label/pod/values', { 'match[]': 'warren_build_info', start: from, end: to });
  const fill = (text) => text
    .replaceAll('$__rate_interval', `${4 * scrape}s`)
    .replaceAll('$namespace', namespace)
    .replaceAll('$pod', `(${pods.join('|')})`);

  for (const target of [...board.annotations.list, ...board.panels.flatMap((panel) => panel.targets ?? [])]) {
    const query = fill(target.expr);
    target.series = target.instant
      ? await ask('query', { query, time: to })
      : await ask('query_range', { query, start: from, end: to, step: scrape });
  }
  return { ...board, from, to, step: scrape, namespace };
}
