import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hostile, huge, nested, realMachine, twoDomains, withoutTables } from './fixtures.suite.ts'
import { type MachineJson, machineJson, renderJson } from './json.ts'
import { anyMachine } from './random.suite.ts'

/** All strings in a document, keys included. */
function strings(value: unknown): string[] {
  if (typeof value === 'string') return [value]
  if (Array.isArray(value)) return value.flatMap(strings)
  return typeof value === 'object' && value !== null
    ? Object.entries(value).flatMap(([key, item]) => [key, ...strings(item)])
    : []
}

describe('the JSON', () => {
  it('has this shape', () => {
    const graph = twoDomains()
    const { devices, pasidTables, spaces, ...rest } = machineJson(graph)
    expect(rest).toMatchInlineSnapshot(`
      {
        "deviceTable": {
          "address": "0x40000000",
          "entries": 16,
          "layout": "linear",
        },
        "enabled": true,
        "events": [],
        "findings": [],
        "format": "iomm-machine",
        "iommu": "Arm SMMUv3",
        "registers": [],
        "rest": [],
        "title": "two-domains.yaml",
        "version": 1,
        "words": {
          "deviceEntry": "STE",
          "deviceTable": "Stream table",
          "pasid": "SubstreamID",
          "pasidEntry": "CD",
          "pasidTable": "CD table",
        },
      }
    `)
    expect(devices[0]).toMatchInlineSnapshot(`
      {
        "detail": null,
        "domain": "A",
        "entry": {
          "address": "0x40000000",
          "fields": [
            {
              "lsb": 0,
              "means": null,
              "msb": 0,
              "name": "V",
              "value": 1,
            },
            {
              "lsb": 1,
              "means": "s1",
              "msb": 3,
              "name": "Config",
              "value": 5,
            },
            {
              "lsb": 6,
              "means": null,
              "msb": 55,
              "name": "S1ContextPtr",
              "value": "0x40010000",
            },
            {
              "lsb": 64,
              "means": "ssid0",
              "msb": 65,
              "name": "S1DSS",
              "value": 2,
            },
          ],
          "structure": "STE",
          "words": [
            "0x4001000b",
            "0x2",
          ],
        },
        "id": 0,
        "name": "0",
        "note": null,
        "pasidTable": "ta",
        "space": null,
        "state": "tables",
      }
    `)
    expect(pasidTables[1]!.entries[1]).toMatchInlineSnapshot(`
      {
        "entry": {
          "address": "0x40010080",
          "fields": [
            {
              "lsb": 0,
              "means": null,
              "msb": 5,
              "name": "T0SZ",
              "value": 16,
            },
            {
              "lsb": 31,
              "means": null,
              "msb": 31,
              "name": "V",
              "value": 1,
            },
            {
              "lsb": 48,
              "means": null,
              "msb": 63,
              "name": "ASID",
              "value": 3,
            },
            {
              "lsb": 68,
              "means": null,
              "msb": 115,
              "name": "TTB0",
              "value": "0x40400000",
            },
          ],
          "structure": "CD",
          "words": [
            "0x3000080003510",
            "0x40400000",
          ],
        },
        "note": null,
        "pasid": 2,
        "space": "y",
        "state": "valid",
        "upper": null,
      }
    `)
    expect(spaces[3]).toMatchInlineSnapshot(`
      {
        "complete": true,
        "format": "VMSAv8-64 stage 1, 4 KiB",
        "id": "y",
        "inputBits": 48,
        "label": "mm Y",
        "leaves": 7,
        "levels": 4,
        "mappedBytes": "0x7000",
        "over": null,
        "ranges": [
          {
            "end": "0x402000",
            "output": "0xb0000000",
            "pages": [
              {
                "count": 2,
                "size": "0x1000",
              },
            ],
            "rights": "r-x/---",
            "start": "0x400000",
          },
          {
            "end": "0x601000",
            "output": "0xb1000000",
            "pages": [
              {
                "count": 1,
                "size": "0x1000",
              },
            ],
            "rights": "r--/---",
            "start": "0x600000",
          },
          {
            "end": "0x7ffff0004000",
            "output": "0xb2000000",
            "pages": [
              {
                "count": 4,
                "size": "0x1000",
              },
            ],
            "rights": "rw-/---",
            "start": "0x7ffff0000000",
          },
        ],
        "rangesLeftOut": 0,
        "role": "io_mm",
        "root": "0x40400000",
        "stage": 1,
        "tables": 4,
        "tags": [
          "ASID 4",
        ],
      }
    `)
  })

  it('is what machineJson gives, written down', () => {
    for (const graph of [twoDomains(), nested(), withoutTables(), realMachine()])
      expect(JSON.parse(renderJson(graph))).toEqual(JSON.parse(JSON.stringify(machineJson(graph))))
  })

  it('keeps every device, entry, space and range, also of big machines', () => {
    const graph = huge()
    const json: MachineJson = JSON.parse(renderJson(graph))
    expect(json.devices).toHaveLength(1000)
    expect(json.pasidTables.flatMap(({ entries }) => entries)).toHaveLength(10_000)
    expect(json.spaces.flatMap(({ ranges }) => ranges)).toHaveLength(10_000)
  })

  it('leaves out ranges beyond a limit, and says how many of each space', () => {
    const { spaces } = machineJson(twoDomains(), 4)
    expect(spaces.map(({ ranges }) => ranges.length)).toEqual([2, 1, 1, 0, 0])
    expect(spaces.map(({ rangesLeftOut }) => rangesLeftOut)).toEqual([0, 0, 1, 3, 1])
  })

  it('holds no control characters and no numbers that JSON would bend, whatever the machine', () => {
    for (const text of strings(JSON.parse(renderJson(hostile())))) expect(text).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}]/u)
    fc.assert(
      fc.property(anyMachine, (graph) => {
        const json = JSON.parse(renderJson(graph))
        expect(json).toEqual(JSON.parse(JSON.stringify(machineJson(graph))))
        for (const text of strings(json)) expect(text).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}]/u)
        expect(json.spaces.map(({ root }: { root: string | null }) => (root === null ? null : BigInt(root)))).toEqual(
          graph.spaces.map(({ root }) => root),
        )
      }),
      { numRuns: 40 },
    )
  })
})
