/** Compiles and runs the C twin (twin.c) on the same memory. */
import { execFileSync, spawnSync } from 'node:child_process'
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { hex } from '../src/base/hex.ts'
import type { PhysicalMemory } from '../src/memory/physical.ts'

export interface TwinResult {
  readonly ns: number
  readonly sum: bigint
}

export interface TwinImage {
  readonly file: string
  readonly start: number
}

export class Twin {
  readonly #folder: string
  readonly #program: string

  private constructor(folder: string, program: string) {
    this.#folder = folder
    this.#program = program
  }

  /** Null, and why on stderr, where there is no C compiler. */
  static compile(): Twin | null {
    const folder = mkdtempSync(join(tmpdir(), 'iomm-bench-'))
    const program = join(folder, 'twin')
    const done = spawnSync('cc', ['-O2', '-o', program, resolve('bench/twin.c')], { stdio: ['ignore', 'inherit', 'inherit'] })
    if (done.status === 0) return new Twin(folder, program)
    console.error(`no ratios: the C twin was not compiled (cc: ${done.error?.message ?? `exit code ${done.status}`})`)
    rmSync(folder, { recursive: true })
    return null
  }

  /** Writes [start, end) of the memory for the twin to read. */
  image(memory: PhysicalMemory, start: number, end: number): TwinImage {
    const file = join(this.#folder, `image-${start}-${end}`)
    const step = 1 << 24
    writeFileSync(file, '')
    for (let at = start; at < end; at += step) appendFileSync(file, memory.read(at, Math.min(step, end - at)))
    return { file, start }
  }

  /** Runs one command of twin.c over an image. */
  run(image: TwinImage, sequence: Uint32Array, command: string, args: readonly number[]): TwinResult {
    const order = join(this.#folder, 'sequence')
    writeFileSync(order, new Uint8Array(sequence.buffer, sequence.byteOffset, sequence.byteLength))
    const text = execFileSync(this.#program, [image.file, hex(image.start), order, command, ...args.map(hex)], {
      encoding: 'utf8',
    })
    const { ns, sum } = JSON.parse(text) as { ns: number; sum: string }
    return { ns, sum: BigInt(`0x${sum}`) }
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true })
  }
}
