/** Raw images of 64 MiB and 64 GiB (sparse) with the same tables at their end: opening and drawing, each in a process of its own. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openInput } from '../src/cli/input.ts'
import { writeSparseImage } from '../src/cli/sparse-image.suite.ts'
import { renderPicture, renderText } from '../src/render/index.ts'

const SIZES = { '64 MiB': 64 * 2 ** 20, '64 GiB': 64 * 2 ** 30 }
const TURNS = 5

interface Measured {
  readonly ms: number
  readonly rss: number
}

export function dumps(): void {
  const folder = mkdtempSync(join(tmpdir(), 'iomm-bench-'))
  try {
    const best = new Map<string, Measured>()
    const files = Object.entries(SIZES).map(([name, bytes]) => {
      const image = join(folder, `${bytes}.ram`)
      writeSparseImage(image, `${image}.json`, bytes)
      return { name, image }
    })
    for (let turn = 0; turn < TURNS; turn++) {
      for (const { name, image } of files) {
        const done = spawnSync(process.execPath, [process.argv[1]!, DRAW, image], {
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'inherit'],
        })
        const measured = JSON.parse(done.stdout) as Measured
        if (measured.ms < (best.get(name)?.ms ?? Number.POSITIVE_INFINITY)) best.set(name, measured)
      }
    }
    const [small, large] = [best.get('64 MiB')!, best.get('64 GiB')!]
    const row = (name: string, { ms, rss }: Measured) => `${name}: ${ms.toFixed(0)} ms, ${(rss / 1024).toFixed(0)} MiB`
    console.log(`
raw image with its tables at its end, opened and drawn: ${row('64 MiB', small)}; ${row('64 GiB', large)}; ratio ${(large.ms / small.ms).toFixed(2)}
aim: under a second more, under 300 MB`)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** What `bench/main.ts` is called with to draw one image. */
export const DRAW = 'draw-image'

/** Draws the image named by the next argument, and prints how long it took. */
export async function draw(): Promise<void> {
  const image = process.argv[3]!
  const start = performance.now()
  const graph = (await openInput(image, { base: 0n, registers: `${image}.json` })).graph()
  const drawn = renderPicture(graph).length + renderText(graph, { verbose: 0 }).length
  const measured: Measured = { ms: performance.now() - start, rss: process.resourceUsage().maxRSS }
  if (drawn === 0) throw new Error(`${image}: nothing was drawn`)
  console.log(JSON.stringify(measured))
}
