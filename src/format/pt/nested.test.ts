/** Tables of one format under tables of another: every pair that an IOMMU nests. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ALL_RIGHTS, PR, PW, UR, UW } from '../../base/types.ts'
import { doubleHi, doubleLo, toDouble } from '../../base/u64.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import { amdV1 } from './amd-v1.ts'
import { enumerate } from './enumerate.ts'
import { AD_SET, type PtFormat, ptSpace } from './format.ts'
import { newRoot, PageTable } from './mapper.ts'
import { riscvScheme } from './riscv.ts'
import { vmsav8 } from './vmsav8.ts'
import { vtdSecond } from './vtd-second.ts'
import { WALK_OK, WALK_PERMISSION, WALK_STAGE2_OUTPUT, WALK_STAGE2_TABLE, Walker } from './walker.ts'
import { amdV2, vtdFirst } from './x86.ts'

interface Side {
  readonly format: PtFormat
  readonly topDepth: number
  readonly inputBits: number
}

const EXTENSIONS = { svpbmt: true, svrsw60t59b: false }
const PAIRS: readonly (readonly [name: string, first: Side, second: Side])[] = [
  ['VT-d, 4 levels over 4', vtdFirst(4), vtdSecond(4)],
  ['VT-d, 5 levels over 3', vtdFirst(5), vtdSecond(3)],
  ['VT-d, 4 levels over 5', vtdFirst(4), vtdSecond(5)],
  ['AMD, v2 of 4 levels over v1 of 3', amdV2(4), amdV1(3)],
  ['AMD, v2 of 5 levels over v1 of 6', amdV2(5), amdV1(6)],
  [
    'Arm, 4 levels over 3',
    { format: vmsav8(12, 'el1'), topDepth: 3, inputBits: 48 },
    { format: vmsav8(12, 'stage2'), topDepth: 2, inputBits: 39 },
  ],
  ['RISC-V, Sv48 over Sv48x4', riscvScheme('Sv48', EXTENSIONS), riscvScheme('Sv48x4', EXTENSIONS)],
]

const RAM = 0x4000_0000
const GUEST = 0x8000_0000
const GUEST_BYTES = 0x40_0000
const RW = UR | UW | PR | PW

/** A guest whose memory at GUEST lies page by page in shuffled frames, with first-stage tables in it. */
function build(first: Side, second: Side, shuffle: number) {
  const memory = new PhysicalMemory([{ start: RAM, end: RAM + 0x1000_0000 }])
  const outer = ptSpace({ ...second, root: newRoot(memory, second) })
  const host = new PageTable(memory, memory, outer)
  const frames = memory.allocate(GUEST_BYTES)
  const count = GUEST_BYTES / 4096
  const frameOf = (gpa: number) => frames + ((((gpa - GUEST) / 4096) * shuffle) % count) * 4096
  for (let page = 0; page < count; page++) host.map(GUEST + page * 4096, frameOf(GUEST + page * 4096), 4096, ALL_RIGHTS)
  // The guest writes its tables through its own addresses: the same as physical ones of a memory of its own.
  const own = new PhysicalMemory([{ start: GUEST, end: GUEST + GUEST_BYTES }])
  const root = newRoot(own, first)
  const guest = new PageTable(own, own, ptSpace({ ...first, root, outputLimit: 2 ** 39 }))
  const copy = () => own.forEachFrame((gpa) => memory.write(frameOf(gpa), own.read(gpa, 4096)))
  const space = ptSpace({ ...first, root, outputLimit: 2 ** 39, stage2: outer })
  return { memory, host, guest, copy, space, frameOf }
}

describe.each(PAIRS)('%s', (_, first, second) => {
  const operation = fc.record({
    input: fc.integer({ min: 0, max: 600 }),
    pages: fc.constantFrom(1, 3, 512),
    gpa: fc.integer({ min: 0, max: 1023 - 512 }),
    rights: fc.constantFrom(UR | PR, RW),
  })

  it('translates by both, page by page, with what both allow', () => {
    fc.assert(
      fc.property(fc.array(operation, { minLength: 1, maxLength: 4 }), fc.constantFrom(1, 5, 339), (operations, shuffle) => {
        const { memory, guest, copy, space, frameOf } = build(first, second, shuffle)
        const expected = new Map<number, { pa: number; writable: boolean }>()
        let free = 0
        for (const { input, pages, gpa, rights } of operations) {
          const start = (free + input) * 4096
          free += input + pages
          guest.map(start, GUEST + gpa * 4096, pages * 4096, rights)
          for (let page = 0; page < pages; page++)
            expected.set(start + page * 4096, { pa: frameOf(GUEST + (gpa + page) * 4096), writable: (rights & UW) !== 0 })
        }
        copy()
        const walker = new Walker(memory)
        const bad: number[] = []
        for (const [input, { pa, writable }] of expected) {
          const ok = walker.walk(space, doubleHi(input), doubleLo(input) | 0x77, UR, false) === WALK_OK
          const write = walker.walk(space, doubleHi(input), doubleLo(input) | 0x77, UW, false)
          if (!ok || toDouble(walker.outHi, walker.outLo) !== pa + 0x77 || walker.sizeLog2 !== 12) bad.push(input)
          if (write !== (writable ? WALK_OK : WALK_PERMISSION)) bad.push(input)
        }
        expect(bad).toEqual([])
        const sizes: number[] = []
        const { complete } = enumerate(memory, space, { leaf: ({ log2 }) => void sizes.push(2 ** (log2 - 12)) })
        expect([complete, sizes.reduce((sum, pages) => sum + pages, 0)]).toEqual([true, expected.size])
      }),
      { numRuns: 4 },
    )
  })

  it('says whether the second stage refused a table or the output', () => {
    const { memory, host, guest, copy, space } = build(first, second, 1)
    guest.map(0, GUEST + 0x30_0000, 4096, RW)
    copy()
    const walker = new Walker(memory)
    const at = (need: number) => walker.walk(space, 0, 0, need, false)
    expect(at(UW)).toBe(WALK_OK)
    host.unmap(GUEST + 0x30_0000, 4096)
    expect(at(UW)).toBe(WALK_STAGE2_OUTPUT)
    host.map(GUEST + 0x30_0000, RAM, 4096, UR | PR)
    expect([at(UR), at(UW)]).toEqual([WALK_OK, WALK_STAGE2_OUTPUT])
    host.unmap(space.root, 4096)
    expect(at(UR)).toBe(WALK_STAGE2_TABLE)
  })

  it.skipIf(first.format.dirtyManagedHi !== 0)(
    'sets A and D of the first stage only in tables that the second lets be written',
    () => {
      const { memory, host, guest, copy, space, frameOf } = build(first, second, 1)
      const { accessed, dirty } = first.format
      guest.map(0, GUEST + 0x30_0000, 4096, RW, { clearLo: accessed | dirty })
      copy()
      const leaf = guest.leaf(0)!.pa
      const page = leaf - (leaf % 4096)
      const updating = ptSpace({ ...space, accessed: AD_SET, dirty: AD_SET })
      const walker = new Walker(memory)
      const state = () => Number(memory.read64(frameOf(page) + (leaf % 4096)) & 0xfffn) & (accessed | dirty)
      host.unmap(page, 4096)
      host.map(page, frameOf(page), 4096, UR | PR)
      expect([walker.walk(updating, 0, 0, UW, true), walker.updateRefused, state()]).toEqual([WALK_STAGE2_TABLE, true, 0])
      host.unmap(page, 4096)
      host.map(page, frameOf(page), 4096, ALL_RIGHTS)
      expect([walker.walk(updating, 0, 0, UW, true), state()]).toEqual([WALK_OK, accessed | dirty])
    },
  )
})
