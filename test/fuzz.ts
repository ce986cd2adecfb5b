/**
 * Random machines: memory full of pointers into itself, random registers. Whatever they hold, the hardware model, the inspector and the
 * drawings must neither crash nor hang. `npm run fuzz` runs 100,000 of them, the tests a few; a seed makes one again.
 */
import { random } from '../src/base/op.ts'
import type { Access } from '../src/base/types.ts'
import { architectureOf } from '../src/cli/architectures.ts'
import { REG, REGISTERS as RISCV_REGISTERS } from '../src/format/riscv/registers.ts'
import { REGISTERS as SMMU_REGISTERS } from '../src/format/smmuv3/registers.ts'
import { PhysicalMemory } from '../src/memory/physical.ts'
import { renderJson, renderPicture, renderSvg, renderText } from '../src/render/index.ts'

const START = 0x4000_0000
const FRAMES = 24
const DEVICES = [0, 1, 7, 0x30, 0xff, 0x1234, 0xffffff]
const PASIDS = [undefined, 0, 1, 5, 0xff, 0xfffff]
const ACCESSES: readonly Access[] = ['read', 'write', 'execute']
const KINDS = [undefined, 'ats-request', 'translated'] as const

type Below = (below: number) => number

function bits64(next: Below): bigint {
  return (BigInt(next(2 ** 32)) << 32n) | BigInt(next(2 ** 32))
}

/** A word as tables hold them, more often than chance would: nothing, a pointer into the memory with flags, all ones, anything. */
function word(next: Below, shift: number): bigint {
  switch (next(8)) {
    case 0:
    case 1:
      return 0n
    case 2:
      return bits64(next)
    case 3:
      return bits64(next) & bits64(next)
    case 4:
      return 0xffff_ffff_ffff_ffffn
    default: {
      const page = BigInt(START / 4096 + next(FRAMES))
      const flags = BigInt(next(4096)) | (next(4) === 0 ? BigInt(next(4096)) << 52n : 0n)
      return ((page << 12n) >> BigInt(shift)) | (flags & ((1n << BigInt(12 - shift)) - 1n)) | (flags & (0xfffn << 52n)) | 1n
    }
  }
}

/** Registers that make such a machine do something; null leaves the value to chance. */
const PLAUSIBLE: Record<string, { shift: number; registers: Map<number, (next: Below) => bigint | null> }> = {
  smmuv3: {
    shift: 0,
    registers: new Map(
      SMMU_REGISTERS.map(({ name, offset }) => [
        offset,
        (next: Below) => {
          if (name === 'CR0') return next(16) === 0 ? null : BigInt(next(32) | 1)
          if (name === 'IDR0') return next(4) === 0 ? null : 0x0d4c101fn
          if (name === 'IDR1') return next(4) === 0 ? null : 0x02730510n
          if (name === 'IDR5') return next(4) === 0 ? null : 0x75n
          if (name === 'STRTAB_BASE_CFG') return next(4) === 0 ? null : BigInt(next(2) << 16) | BigInt(6 << 6) | BigInt(next(17))
          if (name.endsWith('_BASE')) return BigInt(START + next(FRAMES) * 4096) | BigInt(next(8))
          return null
        },
      ]),
    ),
  },
  riscv: {
    shift: 2,
    registers: new Map([
      [REG.capabilities, (next) => (next(4) === 0 ? null : 0x1c7_ffff_ff10n | (56n << 32n))],
      [REG.fctl, (next) => BigInt(next(8))],
      [REG.ddtp, (next) => (BigInt(START / 4096 + next(FRAMES)) << 10n) | BigInt(1 + next(4))],
      ...RISCV_REGISTERS.filter(({ name }) => /^[cfp]qb$/.test(name)).map(
        ({ offset }) => [offset, (next: Below) => (BigInt(START / 4096 + next(FRAMES)) << 10n) | BigInt(next(12))] as const,
      ),
    ]),
  },
}

/** Builds and tries one machine. Throws what went wrong. */
export function fuzzOne(kind: string, seed: number): void {
  const next = random(seed * 2654435761 + 1)
  const { shift, registers } = PLAUSIBLE[kind]!
  const memory = new PhysicalMemory([{ start: START, end: START + FRAMES * 4096 }])
  const density = 1 + next(64)
  for (let pa = START; pa < START + FRAMES * 4096; pa += 8) if (next(64) < density) memory.write64(pa, word(next, shift))
  const values = new Map<number, bigint>()
  const register = (offset: number, bytes: 4 | 8) => {
    const known = values.get(offset)
    if (known !== undefined) return known
    const value = registers.get(offset)?.(next) ?? bits64(next) & bits64(next)
    values.set(offset, bytes === 4 ? value & 0xffff_ffffn : value)
    return values.get(offset)!
  }
  const { inspect, restore } = architectureOf(kind, 'fuzz')
  const model = restore(memory, register)
  for (let count = 0; count < 12; count++) {
    const pasid = PASIDS[next(PASIDS.length)]
    const kindOf = KINDS[next(6)]
    const transaction = {
      device: DEVICES[next(DEVICES.length)]!,
      ...(pasid === undefined ? {} : { pasid }),
      ...(kindOf === undefined ? {} : { kind: kindOf }),
      iova: next(2) === 0 ? bits64(next) : BigInt(next(2 ** 31)),
      access: ACCESSES[next(3)]!,
      privileged: next(2) === 1,
    }
    model.explain(transaction)
    model.translate(transaction)
  }
  // Software writes a register: queues run.
  for (const offset of registers.keys()) {
    if (next(3) > 0) continue
    model.write(offset, next(2) === 0 ? 4 : 8, bits64(next))
    for (let steps = 0; steps < 100 && model.step(); steps++);
  }
  const graph = inspect({
    title: `fuzz ${seed}`,
    memory,
    register,
    budget: { tables: 2000, ranges: 2000, entries: 20_000, listed: 500 },
  })
  renderPicture(graph, { colour: seed % 2 === 0 })
  renderText(graph, { verbose: (seed % 3) as 0 | 1 | 2 })
  if (seed % 8 === 0) {
    renderSvg(graph)
    renderJson(graph)
  }
}

export const FUZZ_KINDS = Object.keys(PLAUSIBLE)
