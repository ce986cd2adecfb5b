import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encode, type Fields, type Layout, type Values } from '../../base/layout.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import { CONTEXT_ENTRY, SM_CONTEXT_ENTRY } from './contexts.ts'
import { faultReason } from './faults.ts'
import { featuresOf } from './features.ts'
import { findContext, findPasid, findSmContext, pasidsOf, ridPasidOf, TableWalk } from './lookup.ts'
import { PASID_DIR_ENTRY, PASID_ENTRY } from './pasid.ts'
import { FULL_CAP, FULL_ECAP } from './registers.ts'
import { ROOT_ENTRY, SM_ROOT_ENTRY } from './root.ts'

const START = 0x10_0000
const ROOT = START
const CONTEXTS = START + 0x1000
const UPPER = START + 0x2000
const DIRECTORY = START + 0x3000
const PASIDS = START + 0x8000
const GONE = 0x4000_0000n

const features = featuresOf(FULL_CAP, FULL_ECAP, { hostAddressBits: 46 })

class Tables {
  readonly memory = new PhysicalMemory([{ start: START, end: START + 0x1_0000 }])
  readonly walk = new TableWalk()

  put<F extends Fields>(pa: number, layout: Layout<F>, values: Partial<Values<F>>): void {
    encode(layout, values).forEach((word, at) => {
      this.memory.write32(pa + at * 4, word)
    })
  }

  /** The name of the fault, and how many entries were read; `found` where there is none. */
  legacy(source: number): readonly [string, number] {
    return this.#told(findContext(this.memory, features, ROOT, source, this.walk))
  }
  scalable(source: number): readonly [string, number] {
    return this.#told(findSmContext(this.memory, features, ROOT, source, this.walk))
  }
  pasid(pasid: number): readonly [string, number] {
    return this.#told(findPasid(this.memory, features, this.walk.context, 0, pasid, this.walk))
  }
  #told(fault: number): readonly [string, number] {
    return [fault === 0 ? 'found' : (faultReason(fault)?.name ?? `${fault}`), this.walk.reads]
  }
}

describe('a context entry of legacy mode', () => {
  function ready() {
    const tables = new Tables()
    tables.put(ROOT + 3 * 16, ROOT_ENTRY, { P: 1, CTP: BigInt(CONTEXTS) })
    tables.put(CONTEXTS + 0x31 * 16, CONTEXT_ENTRY, { P: 1, AW: 2, DID: 7, SSPTPTR: 0x5000n })
    return tables
  }

  it('is picked by bus, device and function; the segment does not count', () => {
    const tables = ready()
    expect(tables.legacy(0x331)).toEqual(['found', 2])
    expect([...tables.walk.address.subarray(0, 2)]).toEqual([ROOT + 48, CONTEXTS + 0x310])
    expect(tables.walk.context[0]).toBe(0x5001)
    expect(tables.legacy(0x5_0331)).toEqual(['found', 2])
  })

  it('is missing where the root entry or itself is not present, and where nothing answers', () => {
    const tables = ready()
    expect(tables.legacy(0x431)).toEqual(['LRT.2', 1])
    expect(tables.legacy(0x330)).toEqual(['LCT.2', 2])
    tables.put(ROOT + 48, ROOT_ENTRY, { P: 1, CTP: GONE })
    expect(tables.legacy(0x331)).toEqual(['LCT.1', 2])
    expect(findContext(tables.memory, features, Number(GONE), 0, tables.walk)).toBe(8)
  })

  it('is refused for reserved bits, apart from other rules', () => {
    const tables = ready()
    tables.put(CONTEXTS + 0x31 * 16, CONTEXT_ENTRY, { P: 1, AW: 0 })
    expect(tables.legacy(0x331)).toEqual(['LCT.4', 2])
    tables.put(CONTEXTS + 0x31 * 16, CONTEXT_ENTRY, { P: 1, AW: 0, SSPTPTR: 1n << 46n })
    expect(tables.legacy(0x331)).toEqual(['LCT.3', 2])
    expect(tables.walk.rule).toBe(1)
    tables.memory.write32(ROOT + 48 + 12, 1)
    expect(tables.legacy(0x331)).toEqual(['LRT.3', 1])
  })

  it('beyond the host address width is not looked for, whatever lies there', () => {
    const tables = ready()
    const far = 2 ** 46
    const memory = new PhysicalMemory([{ start: far, end: far + 0x1000 }])
    expect(findContext(memory, features, far, 0, tables.walk)).toBe(8)
    expect(findContext(memory, featuresOf(FULL_CAP, FULL_ECAP), far, 0, tables.walk)).toBe(1)
  })

  it('says whether faults are to be recorded, also where it is not present', () => {
    const tables = ready()
    tables.legacy(0x331)
    expect(tables.walk.quiet).toBe(false)
    tables.put(CONTEXTS + 0x31 * 16, CONTEXT_ENTRY, { FPD: 1 })
    expect([tables.legacy(0x331)[0], tables.walk.quiet]).toEqual(['LCT.2', true])
    // The next request starts anew.
    expect([tables.legacy(0x431)[0], tables.walk.quiet]).toEqual(['LRT.2', false])
  })
})

describe('a context entry of scalable mode', () => {
  function ready() {
    const tables = new Tables()
    tables.put(ROOT, SM_ROOT_ENTRY, { LP: 1, LCTP: BigInt(CONTEXTS), UP: 1, UCTP: BigInt(UPPER) })
    const entry = { P: 1, PASIDE: 1, DTE: 1, PDTS: 1, PASIDDIRPTR: BigInt(DIRECTORY) }
    tables.put(CONTEXTS + 0x31 * 32, SM_CONTEXT_ENTRY, { ...entry, RID_PASID: 5 })
    tables.put(UPPER + 0x31 * 32, SM_CONTEXT_ENTRY, { ...entry, RID_PASID: 6 })
    tables.put(DIRECTORY + 8, PASID_DIR_ENTRY, { P: 1, SMPTBLPTR: BigInt(PASIDS) })
    tables.put(PASIDS + 3 * 64, PASID_ENTRY, { P: 1, PGTT: 1, FSPTPTR: 0x9000n })
    return tables
  }

  it('is picked out of two tables: devices 0 to 15, and 16 to 31', () => {
    const tables = ready()
    expect(tables.scalable(0x31)).toEqual(['found', 2])
    expect([tables.walk.address[0], tables.walk.address[1], ridPasidOf(tables.walk.context, features)]).toEqual([
      ROOT,
      CONTEXTS + 0x620,
      5,
    ])
    expect(tables.scalable(0xb1)).toEqual(['found', 2])
    expect([tables.walk.address[0], tables.walk.address[1], ridPasidOf(tables.walk.context, features)]).toEqual([
      ROOT + 8,
      UPPER + 0x620,
      6,
    ])
    expect(pasidsOf(tables.walk.context)).toBe(1 << 14)
    // Without ECAP.RPS requests without PASID use PASID 0.
    expect(ridPasidOf(tables.walk.context, featuresOf(0n, 0n))).toBe(0)
  })

  it('needs its half of the root entry only', () => {
    const tables = ready()
    tables.put(ROOT, SM_ROOT_ENTRY, { UP: 1, UCTP: BigInt(UPPER) })
    expect(tables.scalable(0x31)).toEqual(['SRT.2', 1])
    expect(tables.scalable(0xb1)).toEqual(['found', 2])
    tables.memory.write32(ROOT, 2 | 1)
    expect(tables.scalable(0x31)).toEqual(['SRT.3', 1])
    expect(tables.scalable(0xb1)).toEqual(['found', 2])
  })

  it('is missing or refused for a reason each', () => {
    const tables = ready()
    expect(tables.scalable(0x30)).toEqual(['SCT.2', 2])
    tables.put(CONTEXTS + 0x30 * 32, SM_CONTEXT_ENTRY, { P: 1, RID_PASID: 0x2000 })
    expect(tables.scalable(0x30)).toEqual(['SCT.4', 2])
    tables.memory.write32(CONTEXTS + 0x30 * 32 + 28, 1)
    expect(tables.scalable(0x30)).toEqual(['SCT.3', 2])
    tables.put(ROOT, SM_ROOT_ENTRY, { LP: 1, LCTP: GONE })
    expect(tables.scalable(0x31)).toEqual(['SCT.1', 2])
    expect(findSmContext(tables.memory, features, Number(GONE), 0, tables.walk)).toBe(0x38)
  })

  it('leads to PASID table entries, 64 to a table', () => {
    const tables = ready()
    tables.scalable(0x31)
    expect(tables.pasid(67)).toEqual(['found', 4])
    expect([...tables.walk.address.subarray(2)]).toEqual([DIRECTORY + 8, PASIDS + 192])
    expect(tables.walk.pasid[4]).toBe(0x9000)
    expect(tables.pasid(66)).toEqual(['SPT.2', 4])
    expect(tables.pasid(3)).toEqual(['SPD.2', 3])
    expect(tables.pasid(1 << 14)).toEqual(['SCT.7', 2])
  })

  it('leads nowhere for a reason each', () => {
    const tables = ready()
    tables.scalable(0x31)
    tables.put(PASIDS + 2 * 64, PASID_ENTRY, { P: 1, PGTT: 0 })
    expect(tables.pasid(66)).toEqual(['SPT.4', 4])
    tables.memory.write32(PASIDS + 2 * 64 + 60, 1)
    expect(tables.pasid(66)).toEqual(['SPT.3', 4])
    tables.put(DIRECTORY + 16, PASID_DIR_ENTRY, { P: 1, SMPTBLPTR: GONE })
    expect(tables.pasid(128)).toEqual(['SPT.1', 4])
    tables.memory.write32(DIRECTORY + 24, 5)
    expect(tables.pasid(192)).toEqual(['SPD.3', 3])
    tables.put(CONTEXTS + 0x31 * 32, SM_CONTEXT_ENTRY, { P: 1, PASIDDIRPTR: GONE })
    tables.scalable(0x31)
    expect(tables.pasid(0)).toEqual(['SPD.1', 3])
  })

  it('keeps quiet when any entry on the way says so, present or not', () => {
    const quiet = (change: (tables: Tables) => void) => {
      const tables = ready()
      change(tables)
      tables.scalable(0x31)
      tables.pasid(66)
      return tables.walk.quiet
    }
    expect(quiet(() => {})).toBe(false)
    expect(quiet((tables) => tables.put(PASIDS + 2 * 64, PASID_ENTRY, { FPD: 1 }))).toBe(true)
    expect(quiet((tables) => tables.put(DIRECTORY + 8, PASID_DIR_ENTRY, { FPD: 1 }))).toBe(true)
    expect(quiet((tables) => tables.memory.write32(CONTEXTS + 0x31 * 32, tables.memory.read32(CONTEXTS + 0x31 * 32) | 2))).toBe(
      true,
    )
  })

  it('tells an observer each entry, in order, with what came of it', () => {
    const tables = ready()
    const seen: unknown[] = []
    tables.walk.observer = { entry: (...all) => seen.push(all) }
    tables.scalable(0x31)
    tables.pasid(66)
    expect(seen).toEqual([
      ['root', ROOT, 0, 0],
      ['context', CONTEXTS + 0x620, 0, 0],
      ['directory', DIRECTORY + 8, 0, 0],
      ['pasid', PASIDS + 128, 0, 0x59],
    ])
  })
})

describe('any tables', () => {
  it('give an entry or a fault that the specification has, and never anything else', () => {
    const words = fc.array(fc.tuple(fc.nat(0x1fff), fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), fc.nat(15)), { maxLength: 80 })
    fc.assert(
      fc.property(words, fc.nat(0x3ff), fc.nat(0xff), fc.boolean(), (given, source, pasid, scalable) => {
        const tables = new Tables()
        for (const [slot, value, page] of given) {
          // Mostly what looks like an entry that leads on.
          const pointer = BigInt(START + page * 4096) | (value & 1n) | 1n
          tables.memory.write64(START + slot * 8, page < 12 ? pointer : value)
        }
        const fault = (scalable ? findSmContext : findContext)(tables.memory, features, ROOT, source, tables.walk)
        if (fault !== 0) expect(faultReason(fault)).not.toBe(null)
        if (fault !== 0 || !scalable) return
        const last = findPasid(tables.memory, features, tables.walk.context, 0, pasid, tables.walk)
        if (last !== 0) expect(faultReason(last)).not.toBe(null)
      }),
      { numRuns: 300 },
    )
  })
})
