import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { describeMachine } from './description.ts'
import { hostile, huge, nested, realMachine, twoDomains, withoutTables } from './fixtures.suite.ts'
import { anyMachine } from './random.suite.ts'
import { renderText } from './text.ts'

describe('the listing', () => {
  it('lists devices, PASID tables, and what each address space maps with which rights', () => {
    expect(`\n${renderText(twoDomains())}\n`).toMatchInlineSnapshot(`
      "
      two-domains.yaml  Arm SMMUv3, enabled
      Stream table at 0x40000000: linear, 16 entries
      5 devices, 2 CD tables, 5 address spaces

      DEVICES (Stream table)
        0  domain A  → CD table at 0x40010000
        1            no valid entry
        2  domain B  → CD table at 0x40020000
        3  domain B  → CD table at 0x40020000
        4  domain B  → CD table at 0x40020000

      PASID TABLES (CD tables, by SubstreamID)
        0x40010000  domain A
          linear; 3 of 16 entries in use; without PASID: entry 0; device 0
          0  → io_pgtable, domain A, root 0x40100000
          1  → io_mm → mm X, root 0x40300000
          2  → io_mm → mm Y, root 0x40400000

        0x40020000  domain B
          linear; 3 of 16 entries in use; without PASID: entry 0; devices 2, 3, 4
          0  → io_pgtable, domain B, root 0x40200000
          2  → io_mm → mm Y, root 0x40400000
          3  → io_mm → private, root 0x40500000

      ADDRESS SPACES
        io_pgtable  domain A
          root 0x40100000; VMSAv8-64 stage 1, 4 KiB; 48 bits, 4 levels; ASID 1; 4 tables
          reached by PASID 0 of domain A
          68 KiB in 2 ranges
          first               last                size       rights  physical            pages
          0x0000000010000000  0x000000001000ffff  64 KiB     rw-     0x0000000080000000  16 × 4 KiB
          0x0000000020000000  0x0000000020000fff  4 KiB      rw-     0x0000000080100000  1 × 4 KiB

        io_pgtable  domain B
          root 0x40200000; VMSAv8-64 stage 1, 4 KiB; 48 bits, 4 levels; ASID 2; 4 tables
          reached by PASID 0 of domain B
          16 KiB in 1 range
          first               last                size       rights  physical            pages
          0x0000000010000000  0x0000000010003fff  16 KiB     rw-     0x0000000090000000  4 × 4 KiB

        io_mm → mm X
          root 0x40300000; VMSAv8-64 stage 1, 4 KiB; 48 bits, 4 levels; ASID 3; 4 tables
          reached by PASID 1 of domain A
          20 KiB in 2 ranges
          first               last                size       rights   physical            pages
          0x0000000000400000  0x0000000000402fff  12 KiB     r-x/---  0x00000000a0000000  3 × 4 KiB
          0x00007ffff0000000  0x00007ffff0001fff  8 KiB      rw-/---  0x00000000a1000000  2 × 4 KiB

        io_mm → mm Y
          root 0x40400000; VMSAv8-64 stage 1, 4 KiB; 48 bits, 4 levels; ASID 4; 4 tables
          reached by PASID 2 of domain A, PASID 2 of domain B
          28 KiB in 3 ranges
          first               last                size       rights   physical            pages
          0x0000000000400000  0x0000000000401fff  8 KiB      r-x/---  0x00000000b0000000  2 × 4 KiB
          0x0000000000600000  0x0000000000600fff  4 KiB      r--/---  0x00000000b1000000  1 × 4 KiB
          0x00007ffff0000000  0x00007ffff0003fff  16 KiB     rw-/---  0x00000000b2000000  4 × 4 KiB

        io_mm → private
          root 0x40500000; VMSAv8-64 stage 1, 4 KiB; 48 bits, 4 levels; ASID 5; 4 tables
          reached by PASID 3 of domain B
          4 KiB in 1 range
          first               last                size       rights  physical            pages
          0x0000000000001000  0x0000000000001fff  4 KiB      rw-     0x00000000c0000000  1 × 4 KiB
      "
    `)
  })

  it('with -v: every entry with all its fields', () => {
    const text = renderText(withoutTables(), { verbose: 1 })
    expect(`\n${text.slice(text.indexOf('PASID TABLES'), text.indexOf('ADDRESS SPACES'))}`).toMatchInlineSnapshot(`
      "
      PASID TABLES (CD tables, by SubstreamID)
        0x40010000  domain C
          linear; 2 of 16 entries in use; without PASID: abort; device 0xb
          1  → io_mm → mm gone, root 0x40300000  quiet: the process has exited
              CD at 0x40010040
                T0SZ  5:0     0x10        size of the region of TTB0
                V     31      1           entry is valid
                ASID  63:48   2           address space tag
                TTB0  115:68  0x40300000  top table
          3  bad: T0SZ 63 is out of range
              CD at 0x400100c0
                T0SZ  5:0     0x10  size of the region of TTB0
                V     31      1     entry is valid
                ASID  63:48   4     address space tag
                TTB0  115:68  0x0   top table

      "
    `)
  })

  it('with -vv: raw words too', () => {
    const graph = twoDomains()
    const text = renderText(graph, { verbose: 2 })
    expect(text).toContain('0x000000004001000b 0x0000000000000002')
    expect(renderText(graph, { verbose: 1 })).not.toContain('0x000000004001000b')
  })

  it('calls outputs intermediate where a stage 2 is beneath, and says which', () => {
    const text = renderText(nested())
    expect(text).toMatch(/over io_pgtable, stage 2, VM one, root 0x40100000/)
    expect(text).toMatch(/rights +intermediate/)
    expect(text).toMatch(/reached by device 1, the stage 1 io_pgtable, the stage 1 io_mm → guest mm/)
  })

  it('lists the first of many and says how many are left out; -v lists all', () => {
    const graph = huge()
    const text = renderText(graph)
    expect(text.split('\n').length).toBeLessThan(2000)
    expect(text).toContain('… and 936 more devices (-v lists all)')
    expect(text).toContain('… and 9,936 more address spaces (-v lists all)')
    const all = renderText(graph, { verbose: 1 })
    expect(all).not.toContain('-v lists all')
    expect(all.match(/→ CD table at/g)).toHaveLength(1000)
    expect(all).toContain('mm 9999')
  })

  it('shows recorded events and registers', () => {
    const field = { name: 'Type', msb: 7, lsb: 0, value: 0x10, means: 'F_TRANSLATION', doc: 'event type' }
    const graph = {
      ...realMachine(),
      registers: [{ name: 'CR0', offset: 0x20, value: 0x1dn, fields: [field] }],
      events: [
        {
          name: 'F_TRANSLATION',
          address: 0x5000n,
          words: [0x10n],
          fields: [field],
          device: 0x30,
          pasid: null,
          pending: true,
          text: '0000:00:06.0 write 0x7000',
        },
      ],
    }
    expect(renderText(graph)).toContain('F_TRANSLATION  0000:00:06.0 write 0x7000 (not read by software yet)')
    expect(renderText(graph)).not.toContain('CR0')
    expect(renderText(graph, { verbose: 1 })).toMatch(/0x0020 {2}CR0 {2}0x1d\n/)
    expect(renderText(graph, { verbose: 2 })).toMatch(/CR0 {2}0x1d\n +Type {2}7:0 {2}0x10 F_TRANSLATION {2}event type/)
  })

  it('uses the colours of the picture, and none without being asked', () => {
    const coloured = renderText(twoDomains(), { colour: true })
    expect(coloured).toContain('\u001b[1;38;5;166mio_mm → mm Y\u001b[0m')
    expect(coloured.replace(/\u001b\[[\d;]*m/g, '')).toBe(renderText(twoDomains()))
  })

  it('is printable whatever the names are, and ASCII where that is asked for', () => {
    expect(renderText(hostile(), { verbose: 2 })).not.toMatch(/[^\P{Cc}\n]|[\p{Cf}\p{Cs}]/u)
    fc.assert(
      fc.property(anyMachine, fc.integer({ min: 0, max: 2 }), (graph, verbose) => {
        expect(renderText(graph, { verbose })).not.toMatch(/[^\P{Cc}\n]|[\p{Cf}\p{Cs}]/u)
        expect(renderText(graph, { verbose, ascii: true })).toMatch(/^[ -~\n]*$/)
      }),
      { numRuns: 40 },
    )
  })
})

describe('describeMachine', () => {
  it('is short for machines of any size', () => {
    expect(describeMachine(huge()).length).toBeLessThan(8000)
    expect(describeMachine(huge())).toContain('And 988 more devices.')
  })
})
