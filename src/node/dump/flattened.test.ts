import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { bufferSource } from '../bytes.ts'
import { flattenedSource } from './flattened.ts'

/** A flattened file of these records, in this order. */
function flattened(records: readonly { offset: number; data: Uint8Array }[]): Uint8Array {
  const header = new Uint8Array(4096)
  header.set(new TextEncoder().encode('makedumpfile'))
  const view = new DataView(header.buffer)
  view.setBigInt64(16, 1n)
  view.setBigInt64(24, 1n)
  const head = (offset: number, bytes: number) => {
    const record = new DataView(new ArrayBuffer(16))
    record.setBigInt64(0, BigInt(offset))
    record.setBigInt64(8, BigInt(bytes))
    return new Uint8Array(record.buffer)
  }
  return Buffer.concat([header, ...records.flatMap(({ offset, data }) => [head(offset, data.length), data]), head(-1, -1)])
}

describe('the flattened form', () => {
  it('reads as the file that one gets by writing the records one after another', () => {
    const record = fc.record({ offset: fc.nat(300), data: fc.uint8Array({ minLength: 1, maxLength: 120 }) })
    fc.assert(
      fc.property(
        fc.array(record, { minLength: 1, maxLength: 14 }),
        fc.array(fc.tuple(fc.nat(420), fc.nat(420))),
        (records, reads) => {
          const size = Math.max(...records.map(({ offset, data }) => offset + data.length))
          const expected = new Uint8Array(size)
          for (const { offset, data } of records) expected.set(data, offset)
          const source = flattenedSource(bufferSource('test.flat', flattened(records)))
          expect(source.size).toBe(size)
          for (const [from, length] of [[0, size], ...reads]) {
            const start = Math.min(from!, size)
            const target = new Uint8Array(Math.min(length!, size - start)).fill(0xee)
            source.read(start, target)
            expect(target).toEqual(expected.subarray(start, start + target.length))
          }
        },
      ),
      { numRuns: 400 },
    )
  })

  it('says where it is damaged', () => {
    const good = flattened([{ offset: 0, data: new Uint8Array(100) }])
    const open = (change: (view: DataView) => void) => () => {
      const bytes = Uint8Array.from(good)
      change(new DataView(bytes.buffer))
      return flattenedSource(bufferSource('test.flat', bytes))
    }
    expect(open((view) => view.setBigInt64(16, 2n))).toThrow(/at offset 0x10: flattened type 2, version 1/)
    expect(open((view) => view.setBigInt64(4096, -5n))).toThrow(
      /at offset 0x1000: record of 100 bytes at offset -5: it is damaged/,
    )
    expect(open((view) => view.setBigInt64(4104, 0n))).toThrow(/at offset 0x1000: record of 0 bytes/)
    expect(open((view) => view.setBigInt64(4104, 5000n))).toThrow(
      /at offset 0x1010: record of 5000 bytes; the file ends at .*cut off/,
    )
    expect(() => flattenedSource(bufferSource('test.flat', good.subarray(0, good.length - 16)))).toThrow(
      /without the record that ends it: it is cut off/,
    )
  })
})
