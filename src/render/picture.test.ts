import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { MachineGraph } from '../inspect/graph.ts'
import { columns } from './clean.ts'
import { empty, hostile, huge, nested, realMachine, stage2Only, tangled, twoDomains, withoutTables } from './fixtures.suite.ts'
import { renderPicture } from './picture.ts'
import { anyMachine } from './random.suite.ts'

/** With a line break first and last, so that snapshots stand flush. */
function picture(graph: MachineGraph, options: Parameters<typeof renderPicture>[1] = {}): string {
  return `\n${renderPicture(graph, options)}\n`
}

describe('the picture', () => {
  it('shows which device leads to which PASID table, and what each entry of it is', () => {
    expect(picture(twoDomains())).toMatchInlineSnapshot(`
      "
      two-domains.yaml  Arm SMMUv3 · Stream table at 0x40000000, linear

         DEVICES            PASID TABLES              ADDRESS SPACES
         Stream table       CD tables, by SubstreamID page tables

         ┌──────────┐
       0 │ domain A ├──────▶┌─ domain A ─┐
         ├──────────┤       │ 0  ASID 1  ├─────────── io_pgtable  domain A  0x40100000  68 KiB in 2 ranges
       1 │          │       ├────────────┤
         ├──────────┤       │ 1  ASID 3  ├─────────── io_mm → mm X          0x40300000  20 KiB in 2 ranges
       2 │ domain B ├───╮   ├────────────┤
         ├──────────┤   │   │ 2  ASID 4  ├──┬──────── io_mm → mm Y          0x40400000  28 KiB in 3 ranges
       3 │ domain B ├───┤   └────────────┘  │
         ├──────────┤   │                   │
       4 │ domain B ├───┴──▶┌─ domain B ─┐  │
         └──────────┘       │ 0  ASID 2  ├──│──────── io_pgtable  domain B  0x40200000  16 KiB in 1 range
                            ├────────────┤  │
                            │ 1          │  │
                            ├────────────┤  │
                            │ 2  ASID 4  ├──╯         mm Y (as above)
                            ├────────────┤
                            │ 3  ASID 5  ├─────────── io_mm → private       0x40500000  4 KiB in 1 range
                            └────────────┘
      "
    `)
  })
  it('keeps the number of a tag, and the address of a table, where columns are few', () => {
    const { spaces, pasidTables, ...rest } = twoDomains()
    const graph = {
      ...rest,
      spaces: spaces.map((space) => ({ ...space, tags: space.tags.map((tag) => tag.replace('ASID', 'DomainID')) })),
      pasidTables: pasidTables.map((table) => ({ ...table, label: null })),
    }
    const narrow = picture(graph, { width: 70 })
    expect(narrow).toMatch(/│ 2 {2}Dom\w*… 4 /)
    for (const { address } of pasidTables) expect(narrow).toContain(` 0x${address.toString(16)} `)
  })
  it('shows the same in ASCII', () => {
    expect(picture(twoDomains(), { ascii: true })).toMatchInlineSnapshot(`
      "
      two-domains.yaml  Arm SMMUv3 | Stream table at 0x40000000, linear

         DEVICES            PASID TABLES              ADDRESS SPACES
         Stream table       CD tables, by SubstreamID page tables

         +----------+
       0 | domain A +------>+- domain A -+
         +----------+       | 0  ASID 1  +----------- io_pgtable  domain A  0x40100000  68 KiB in 2 ranges
       1 |          |       +------------+
         +----------+       | 1  ASID 3  +----------- io_mm -> mm X         0x40300000  20 KiB in 2 ranges
       2 | domain B +---.   +------------+
         +----------+   |   | 2  ASID 4  +--+-------- io_mm -> mm Y         0x40400000  28 KiB in 3 ranges
       3 | domain B +---+   +------------+  |
         +----------+   |                   |
       4 | domain B +---+-->+- domain B -+  |
         +----------+       | 0  ASID 2  +--|-------- io_pgtable  domain B  0x40200000  16 KiB in 1 range
                            +------------+  |
                            | 1          |  |
                            +------------+  |
                            | 2  ASID 4  +--'         mm Y (as above)
                            +------------+
                            | 3  ASID 5  +----------- io_mm -> private      0x40500000  4 KiB in 1 range
                            +------------+
      "
    `)
  })
  it('says less in less room', () => {
    expect(picture(twoDomains(), { width: 60 })).toMatchInlineSnapshot(`
      "
      two-domains.yaml  Arm SMMUv3 · Stream table at 0x40000000,…

         DEVICES            PASID TABLES           ADDRESS SPACES
         Stream table       CD tables              page tables

         ┌──────────┐
       0 │ domain A ├──────▶┌─ domain A ─┐
         ├──────────┤       │ 0          ├──────── io_pgtable
       1 │          │       ├────────────┤
         ├──────────┤       │ 1          ├──────── io_mm → mm X
       2 │ domain B ├───╮   ├────────────┤
         ├──────────┤   │   │ 2          ├──┬───── io_mm → mm Y
       3 │ domain B ├───┤   └────────────┘  │
         ├──────────┤   │                   │
       4 │ domain B ├───┴──▶┌─ domain B ─┐  │
         └──────────┘       │ 0          ├──│───── io_pgtable
                            ├────────────┤  │
                            │ 1          │  │
                            ├────────────┤  │
                            │ 2          ├──╯      mm Y (as above)
                            ├────────────┤
                            │ 3          ├──────── io_mm → private
                            └────────────┘
      "
    `)
  })
  it('draws a line straight to a stage 2 that needs no PASID table', () => {
    expect(picture(stage2Only(), { ascii: true })).toMatchInlineSnapshot(`
      "
      arm64-smmuv3-s2  Arm SMMUv3 | Stream table at 0x40000000, linear

            DEVICES                            ADDRESS SPACES
            Stream table                       page tables

            +--------------+
       0x10 | 0000:00:02.0 +----+------------- io_pgtable  stage 2, VM one  0x40100000  1 GiB in 1 range
            +..............+    |
       0x18 | 0000:00:03.0 +----|------------- io_pgtable  stage 2, VM two  0x40200000  1 GiB in 1 range
            +..............+    |
       0x20 | 0000:00:04.0 +----'
            +--------------+
      "
    `)
  })
  it('draws stage 2 in a column of its own where others run over it', () => {
    expect(picture(nested())).toMatchInlineSnapshot(`
      "
      nested.yaml  Arm SMMUv3 · Stream table at 0x40000000, linear

         DEVICES                PASID TABLES            ADDRESS SPACES                  STAGE 2
         Stream table           CD tables               page tables                     under the others

         ┌──────────────┐
       0 │ nic   nested ├──────▶┌─ guest ───┐
         ├──────────────┤       │ 0  ASID 1 ├────────── io_pgtable  guest domain ──┬─── io_pgtable  VM one
       1 │ disk  VM one ├───╮   ├╌╌╌╌╌╌╌╌╌╌╌┤                                      │
         └──────────────┘   │   │ 5  ASID 2 ├────────── io_mm → guest mm ──────────┤
                            │   └───────────┘                                      │
                            │                                                      │
                            ╰──────────────────────────────────────────────────────╯
      "
    `)
  })
  it('tells bypass, abort, quiet and bad entries apart', () => {
    expect(picture(withoutTables())).toMatchInlineSnapshot(`
      "
      states  Arm SMMUv3 · Stream table at 0x40000000, linear

           DEVICES                       PASID TABLES                   ADDRESS SPACES
           Stream table                  CD tables, by SubstreamID      page tables

           ┌─────────────────┐
       0x8 │ pass   bypass   │
           ├─────────────────┤
       0x9 │ stop   abort    │
           ├─────────────────┤
       0xa │ wrong  bad      │
           ├─────────────────┤
       0xb │ gpu    domain C ├──────────▶┌─ domain C ──────┐
           └─────────────────┘           │ no PASID: abort │
                                         ├─────────────────┤
                                         │ 0               │
                                         ├─────────────────┤
                                         │ 1  quiet        ├╌╌╌╌╌╌╌╌╌╌╌ io_mm → mm gone  0x40300000
                                         ├─────────────────┤
                                         │ 2               │
                                         ├─────────────────┤
                                         │ 3  bad          ├╌╌╌╌╌╌╌╌╌╌╌ bad: T0SZ 63 is out of range
                                         └─────────────────┘

      wrong: Config 0b011 is reserved (C_BAD_STE, 5.2)
      error: CD 3 of CD table at 0x40010000: T0SZ 63 is out of range (C_BAD_CD, 5.4.1)
      "
    `)
  })
  it('says when there is nothing to draw', () => {
    expect(picture(empty())).toMatchInlineSnapshot(`
      "
      nothing  Arm SMMUv3, not enabled

      No device has an entry: there is nothing to draw.
      Stream table: 65,536 entries: not valid
      "
    `)
  })
  it('shows lines that cross without meeting as passing beneath each other', () => {
    expect(picture(tangled())).toMatchInlineSnapshot(`
      "
      tangled  Arm SMMUv3 · Stream table at 0x40000000, linear

         DEVICES                          PASID TABLES                  ADDRESS SPACES
         Stream table                     CD tables, by SubstreamID     page tables

         ┌────────────────┐
       0 │ dev0  domain 0 ├────┬─────────▶┌─ domain 0 ─┐
       1 │ dev1  domain 1 ├────│─────╮    │ 0  ASID 0  ├─────────────── io_pgtable  domain 0  0x41000000
       2 │ dev2  domain 2 ├────│───╮ │    │ 1  ASID 10 ├──┬──────────── io_mm → mm 0          0x50000000
       3 │ dev3  domain 3 ├────│─╮ │ │    │ 2  ASID 11 ├──│─┬────────── io_mm → mm 1          0x50001000
       4 │ dev4  domain 0 ├────╯ │ │ │    │ 3  ASID 12 ├──│─│─┬──────── io_mm → mm 2          0x50002000
       5 │ dev5  domain 1 ├──────│─│─┤    │ 4  ASID 13 ├──│─│─│─┬────── io_mm → mm 3          0x50003000
       6 │ dev6  domain 2 ├──────│─┤ │    │ 5  ASID 14 ├──│─│─│─│─┬──── io_mm → mm 4          0x50004000
       7 │ dev7  domain 3 ├──────┤ │ │    └────────────┘  │ │ │ │ │
         └────────────────┘      │ │ ╰───▶┌─ domain 1 ─┐  │ │ │ │ │
                                 │ │      │ 0  ASID 1  ├──│─│─│─│─│──── io_pgtable  domain 1  0x41001000
                                 │ │      │ 1  ASID 10 ├──┤ │ │ │ │     mm 0 (as above)
                                 │ │      │ 2  ASID 11 ├──│─┤ │ │ │     mm 1 (as above)
                                 │ │      │ 3  ASID 12 ├──│─│─┤ │ │     mm 2 (as above)
                                 │ │      │ 4  ASID 13 ├──│─│─│─┤ │     mm 3 (as above)
                                 │ │      │ 5  ASID 14 ├──│─│─│─│─┤     mm 4 (as above)
                                 │ │      └────────────┘  │ │ │ │ │
                                 │ ╰─────▶┌─ domain 2 ─┐  │ │ │ │ │
                                 │        │ 0  ASID 2  ├──│─│─│─│─│──── io_pgtable  domain 2  0x41002000
                                 │        │ 1  ASID 10 ├──┤ │ │ │ │     mm 0 (as above)
                                 │        │ 2  ASID 11 ├──│─┤ │ │ │     mm 1 (as above)
                                 │        │ 3  ASID 12 ├──│─│─┤ │ │     mm 2 (as above)
                                 │        │ 4  ASID 13 ├──│─│─│─┤ │     mm 3 (as above)
                                 │        │ 5  ASID 14 ├──│─│─│─│─┤     mm 4 (as above)
                                 │        └────────────┘  │ │ │ │ │
                                 ╰───────▶┌─ domain 3 ─┐  │ │ │ │ │
                                          │ 0  ASID 3  ├──│─│─│─│─│──── io_pgtable  domain 3  0x41003000
                                          │ 1  ASID 10 ├──╯ │ │ │ │     mm 0 (as above)
                                          │ 2  ASID 11 ├────╯ │ │ │     mm 1 (as above)
                                          │ 3  ASID 12 ├──────╯ │ │     mm 2 (as above)
                                          │ 4  ASID 13 ├────────╯ │     mm 3 (as above)
                                          │ 5  ASID 14 ├──────────╯     mm 4 (as above)
                                          └────────────┘
      "
    `)
  })
  it('names every device of a PCI machine and every PASID in use', () => {
    const text = renderPicture(realMachine())
    for (const { name } of realMachine().devices) expect(text).toContain(name)
    for (const pasid of [1, 2, 5, 64, 65, 1000, 17185, 65535])
      expect(text.match(new RegExp(`│ +${pasid}  ASID`, 'g'))).toHaveLength(3)
    expect(text).toContain('757 entries: abort')
  })
  it('summarises a machine of 1,000 devices and 10,000 spaces, and says so', () => {
    const graph = huge()
    const text = renderPicture(graph)
    expect(text.split('\n').length).toBeLessThan(160)
    expect(text).toMatch(/… and 976 more devices, 976 PASID tables, 9,975 address spaces, not drawn/)
    expect(text).toContain('… and 8 more')
  })
  it('gives the colour of an address space to all its lines, and none without being asked', () => {
    const coloured = renderPicture(twoDomains(), { colour: true })
    // mm Y is the second space that gets a colour: orange, 166.
    expect(coloured.split('\n').filter((line) => line.includes('38;5;166')).length).toBeGreaterThanOrEqual(6)
    expect(coloured.replace(/\u001b\[[\d;]*m/g, '')).toBe(renderPicture(twoDomains()))
  })
  it('lets no hostile name steer the terminal', () => {
    expect(renderPicture(hostile())).not.toMatch(/[^\P{Cc}\n]|[\p{Cf}\p{Cs}]/u)
    expect(renderPicture(hostile(), { ascii: true })).toMatch(/^[ -~\n]*$/)
  })
  it('fits the width and is printable, whatever the machine', () => {
    fc.assert(
      fc.property(anyMachine, fc.integer({ min: 60, max: 160 }), fc.boolean(), (graph, width, ascii) => {
        const text = renderPicture(graph, { width, ascii })
        for (const line of text.split('\n')) expect(columns(line)).toBeLessThanOrEqual(width)
        expect(text).not.toMatch(ascii ? /[^ -~\n]/ : /[^\P{Cc}\n]|[\p{Cf}\p{Cs}]/u)
      }),
      { numRuns: 60 },
    )
  })
})
