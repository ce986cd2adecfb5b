import { describe, expect, it } from 'vitest'
import { encode, type Values } from '../../base/layout.ts'
import { PR, PW, PX, UR, UW, UX } from '../../base/types.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import { AD_FAULT, AD_IGNORE, AD_SET, TOP_SIGN, TOP_ZERO } from '../pt/format.ts'
import { WALK_ACCESS_FLAG, WALK_DIRTY, WALK_INPUT_RANGE, WALK_OK, WALK_PERMISSION, WALK_RESERVED, Walker } from '../pt/walker.ts'
import {
  blankSpace,
  firstStageSpace,
  legacySpace,
  secondStageSpace,
  setFirstStage,
  setLegacySpace,
  setSecondStage,
} from './context.ts'
import { CONTEXT_ENTRY } from './contexts.ts'
import { featuresOf } from './features.ts'
import { PASID_ENTRY } from './pasid.ts'
import { CAP, ECAP, FULL_CAP, FULL_ECAP } from './registers.ts'

const features = featuresOf(FULL_CAP, FULL_ECAP, { hostAddressBits: 46 })
const context = (values: Partial<Values<typeof CONTEXT_ENTRY.fields>>) =>
  Int32Array.from(encode(CONTEXT_ENTRY, { P: 1, ...values }))
const pasid = (values: Partial<Values<typeof PASID_ENTRY.fields>>) => Int32Array.from(encode(PASID_ENTRY, { P: 1, ...values }))

/** CAP with another MGAW. */
function narrow(bits: number) {
  const { msb, lsb } = CAP.fields.MGAW
  const mask = ((1n << BigInt(msb - lsb + 1)) - 1n) << BigInt(lsb)
  return featuresOf((FULL_CAP & ~mask) | (BigInt(bits - 1) << BigInt(lsb)), FULL_ECAP)
}

describe('the second stage of a legacy context entry', () => {
  it.each([
    [1, 39, 2],
    [2, 48, 3],
    [3, 57, 4],
  ])('AW %i has %i bits', (AW, inputBits, topDepth) => {
    const space = legacySpace(features, context({ AW, SSPTPTR: 0x1234_5000n }))!
    expect(space).toMatchObject({ inputBits, topDepth, root: 0x1234_5000, top: TOP_ZERO, physicalLimit: 2 ** 46 })
    expect([space.rootHi, space.rootLo, space.accessed, space.dirty]).toEqual([0, 0x1234_5000, AD_IGNORE, AD_IGNORE])
  })

  it('is no wider than CAP.MGAW, with the levels of AW', () => {
    const of = (bits: number, AW: number) => legacySpace(narrow(bits), context({ AW }))!
    expect([of(39, 2), of(46, 2), of(48, 3), of(57, 1)].map(({ inputBits, topDepth }) => [inputBits, topDepth])).toEqual([
      [39, 3],
      [46, 3],
      [48, 4],
      [39, 2],
    ])
  })

  it('is none in pass-through', () => {
    expect(legacySpace(features, context({ TT: 2, AW: 2 }))).toBe(null)
    expect(setLegacySpace(blankSpace(features), features, context({ TT: 2, AW: 2 }), 0)).toBe(false)
  })
})

describe('the second stage of a PASID table entry', () => {
  it('is there for second-stage and nested translation only', () => {
    const kinds = [1, 2, 3, 4].map((PGTT) => secondStageSpace(features, pasid({ PGTT, AW: 2 })) !== null)
    expect(kinds).toEqual([false, true, true, false])
  })

  it('sets A and D where SSADE asks for it, and faults where walks do not snoop', () => {
    const of = (values: Parameters<typeof pasid>[0]) => {
      const { accessed, dirty } = secondStageSpace(features, pasid({ PGTT: 2, AW: 2, ...values }))!
      return [accessed, dirty]
    }
    expect(of({})).toEqual([AD_IGNORE, AD_IGNORE])
    expect(of({ SSADE: 1, PWSNP: 1 })).toEqual([AD_SET, AD_SET])
    expect(of({ SSADE: 1 })).toEqual([AD_FAULT, AD_FAULT])
  })

  it('has execute rights of its own where SSEE says so', () => {
    const memory = new PhysicalMemory([{ start: 0x10_0000, end: 0x11_0000 }])
    for (let level = 0; level < 3; level++) memory.write64(0x10_0000 + level * 0x1000, BigInt(0x10_1000 + level * 0x1000) | 7n)
    memory.write64(0x10_3000, 0x8000_0000n | 3n)
    const rights = (SSEE: number) => {
      const walker = new Walker(memory)
      walker.walk(secondStageSpace(features, pasid({ PGTT: 2, AW: 2, SSEE, SSPTPTR: 0x10_0000n }))!, 0, 0, 0, false)
      return walker.rights & (UR | UW | UX)
    }
    expect([rights(0), rights(1)]).toEqual([UR | UW | UX, UR | UW])
  })
})

describe('the first stage of a PASID table entry', () => {
  it('is there for first-stage and nested translation only', () => {
    const kinds = [1, 2, 3, 4].map((PGTT) => firstStageSpace(features, pasid({ PGTT, AW: 2 }), null) !== null)
    expect(kinds).toEqual([true, false, true, false])
  })

  it('has 4 or 5 levels by FSPM, and its own root', () => {
    const of = (FSPM: number) => firstStageSpace(features, pasid({ PGTT: 1, FSPM, FSPTPTR: 0x3f00_1234_5000n }), null)!
    expect([0, 1].map(of)).toMatchObject([
      { inputBits: 48, topDepth: 3, top: TOP_SIGN, root: 0x3f00_1234_5000 },
      { inputBits: 57, topDepth: 4, top: TOP_SIGN, rootHi: 0x3f00, rootLo: 0x1234_5000 },
    ])
  })

  it('always has A and D: set by hardware where walks snoop, else a fault', () => {
    const of = (PWSNP: number) => firstStageSpace(features, pasid({ PGTT: 1, PWSNP }), null)!
    expect([of(0).accessed, of(0).dirty, of(1).accessed, of(1).dirty]).toEqual([AD_FAULT, AD_FAULT, AD_SET, AD_SET])
  })

  it('lies over the second stage that it is given', () => {
    const entry = pasid({ PGTT: 3, AW: 2, FSPTPTR: 0x1000n, SSPTPTR: 0x2000n })
    const second = secondStageSpace(features, entry)!
    expect(firstStageSpace(features, entry, second)!.stage2).toBe(second)
    // Addresses of a guest may be wider than those of the host.
    expect(firstStageSpace(features, entry, second)!.format.reservedTableHi[1]! & 0xfffff).toBe(0)
    expect(firstStageSpace(features, pasid({ PGTT: 1 }), null)!.format.reservedTableHi[1]! & 0xfffff).toBe(0xfc000)
  })
})

/** A first stage with one page of each kind, walked. */
describe('walks of a first stage', () => {
  const A = 0x20n
  const D = 0x40n
  const XD = 1n << 63n
  const memory = new PhysicalMemory([{ start: 0x10_0000, end: 0x11_0000 }])
  for (let level = 0; level < 3; level++) memory.write64(0x10_0000 + level * 0x1000, BigInt(0x10_1000 + level * 0x1000) | A | 7n)
  const page = (at: number, bits: bigint) => memory.write64(0x10_3000 + at * 8, 0x8000_0000n | 1n | bits)
  page(0, A | D | 6n)
  page(1, A | D | 4n)
  page(2, A | D | 2n)
  page(3, A | D | 6n | XD)
  page(4, 6n)
  page(5, A | 6n)
  page(6, A | D | 6n | (1n << 46n))

  function walk(at: number, need: number, values: Parameters<typeof pasid>[0] = {}, given = features): number {
    const space = firstStageSpace(given, pasid({ PGTT: 1, FSPTPTR: 0x10_0000n, ...values }), null)!
    return new Walker(memory).walk(space, 0, at * 4096, need, false)
  }

  it('tell users from supervisors, and reads from writes', () => {
    expect([walk(0, UR), walk(0, UW), walk(1, UR), walk(1, UW)]).toEqual([WALK_OK, WALK_OK, WALK_OK, WALK_PERMISSION])
    expect([walk(2, UR), walk(2, PR), walk(2, PW)]).toEqual([WALK_PERMISSION, WALK_OK, WALK_OK])
  })

  it('let supervisors write read-only pages unless WPE forbids it', () => {
    expect([walk(1, PW), walk(1, PW, { WPE: 1 })]).toEqual([WALK_OK, WALK_PERMISSION])
  })

  it('take execution away by XD where NXE says so, and from user pages where SMEP does', () => {
    expect([walk(3, UX), walk(3, UX, { NXE: 1 }), walk(0, UX, { NXE: 1 })]).toEqual([WALK_OK, WALK_PERMISSION, WALK_OK])
    expect([walk(0, PX), walk(0, PX, { SMEP: 1 }), walk(2, PX, { SMEP: 1 })]).toEqual([WALK_OK, WALK_PERMISSION, WALK_OK])
  })

  it('fault for clear A and D where they cannot be set', () => {
    expect([walk(4, UR), walk(4, UR, { PWSNP: 1 })]).toEqual([WALK_ACCESS_FLAG, WALK_OK])
    expect([walk(5, UR), walk(5, UW), walk(5, UW, { PWSNP: 1 })]).toEqual([WALK_OK, WALK_DIRTY, WALK_OK])
  })

  it('refuse address bits above the host width', () => {
    expect([walk(6, UR), walk(6, UR, {}, featuresOf(FULL_CAP, FULL_ECAP))]).toEqual([WALK_RESERVED, WALK_OK])
  })

  it('refuse addresses that are not canonical', () => {
    const space = firstStageSpace(features, pasid({ PGTT: 1, FSPTPTR: 0x10_0000n }), null)!
    expect(new Walker(memory).walk(space, 0x8000, 0, UR, false)).toBe(WALK_INPUT_RANGE)
  })
})

describe('a space that is filled again and again', () => {
  it('is the same as a new one, whatever was in it before', () => {
    const entries = [
      pasid({ PGTT: 1, FSPM: 1, WPE: 1, FSPTPTR: 0x5000n, PWSNP: 1 }),
      pasid({ PGTT: 3, AW: 1, SSADE: 1, EAFE: 1, NXE: 1, FSPTPTR: 0x6000n, SSPTPTR: 0x7000n }),
      pasid({ PGTT: 2, AW: 3, SSEE: 1, SSPTPTR: 0x8000n, PWSNP: 1, SSADE: 1 }),
    ]
    const [first, second] = [blankSpace(features), blankSpace(features)]
    for (const entry of [...entries, ...entries.toReversed()]) {
      if (setFirstStage(first, features, entry, 0)) expect(first).toEqual(firstStageSpace(features, entry, null))
      if (setSecondStage(second, features, entry, 0)) expect(second).toEqual(secondStageSpace(features, entry))
      const legacy = context({ AW: 2, SSPTPTR: 0x9000n })
      setLegacySpace(second, features, legacy, 0)
      expect(second).toEqual(legacySpace(features, legacy))
    }
  })
})

describe('features', () => {
  it('are those that QEMU says', () => {
    const stock = featuresOf(0x80d2008c222f0606n, 0xf00f4an)
    expect(stock).toMatchObject({
      guestAddressBits: 48,
      sagaw: 0b110,
      domainBits: 16,
      pasidBits: 0,
      scalable: false,
      passThrough: true,
    })
    expect(stock).toMatchObject({ deviceTlb: false, snoopControl: false, interruptRemapping: true, extendedInterrupts: false })
    const sva = featuresOf(0x81d2008c222f0686n, 0x18d9a20f00f4en)
    expect(sva).toMatchObject({ scalable: true, firstStage: true, secondStage: false, coherentWalks: true, pasidBits: 20 })
    expect(sva).toMatchObject({ cachingMode: true, deviceTlb: true, pageRequests: true, fiveLevel: false, ridPasid: false })
  })

  it('have large pages of each stage only where CAP has them', () => {
    const leaves = (sslps: bigint) => featuresOf(sslps << 34n, 0n).second[0][2]!.format.leafDepths
    expect([0n, 1n, 2n, 3n].map(leaves)).toEqual([0b1, 0b11, 0b101, 0b111])
    expect([0n, 1n << 56n].map((cap) => featuresOf(cap, 0n).first[0]![0].format.leafDepths)).toEqual([0b11, 0b111])
  })

  it('keep the host address width within what addresses can have', () => {
    expect([0, 39, 64].map((hostAddressBits) => featuresOf(0n, 0n, { hostAddressBits }).hostAddressBits)).toEqual([32, 39, 52])
    expect(ECAP.fields.PSS.lsb).toBe(35)
  })
})
