import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { realMachine, tangled, twoDomains } from './fixtures.suite.ts'
import { type Metrics, place, route } from './layout.ts'
import { overview, TERMINAL } from './overview.ts'
import { anyMachine } from './random.suite.ts'

const metrics: Metrics = {
  deviceHead: 1,
  devicePitch: 2,
  deviceFoot: 1,
  gap: 2,
  port: 0,
  head: 1,
  pitch: 2,
  foot: 1,
  pass: 0,
  clear: 1,
  lanes: 6,
}

describe('place', () => {
  it('keeps devices with consecutive ids in one box', () => {
    const placed = place(overview(twoDomains(), TERMINAL), metrics)
    expect(placed.runs).toEqual([{ first: 0, last: 4 }])
    expect(placed.left.lanes).toBe(1)
  })

  it('moves each device level with its table where each has its own', () => {
    const view = overview(realMachine(), TERMINAL)
    const placed = place(view, metrics)
    expect(placed.left.lanes).toBe(0)
    view.devices.forEach((device, at) => {
      expect(placed.deviceRow[at]).toBe(placed.blockTop[device.block!])
    })
  })

  it('puts a shared space level with the first line that leads there', () => {
    const placed = place(overview(twoDomains(), TERMINAL), metrics)
    const net = placed.right.nets.find(({ key }) => key === 'y')!
    expect(net.pins).toHaveLength(2)
    expect(net.port).toBe(net.pins[0])
    expect(placed.spaceRow.get('y')).toBe(net.port)
  })

  it('gives references instead of lines when the lanes run out', () => {
    const placed = place(overview(tangled(9), TERMINAL), metrics)
    expect(placed.right.lanes).toBe(metrics.lanes)
    expect(placed.right.nets.filter(({ broken }) => broken)).toHaveLength(3)
  })

  it('never has more than a few lanes between devices and tables', () => {
    fc.assert(
      fc.property(anyMachine, (graph) => {
        expect(place(overview(graph, TERMINAL), metrics).left.lanes).toBeLessThanOrEqual(4)
      }),
      { numRuns: 40 },
    )
  })

  it('never puts two devices, or two boxes of a column, over each other', () => {
    fc.assert(
      fc.property(anyMachine, (graph) => {
        const view = overview(graph, TERMINAL)
        const placed = place(view, metrics)
        const rows = placed.deviceOrder.map((index) => placed.deviceRow[index]!)
        for (let at = 1; at < rows.length; at++) expect(rows[at]! - rows[at - 1]!).toBeGreaterThanOrEqual(metrics.devicePitch)
        const blocks = view.blocks.map((block, at) => ({
          top: placed.blockTop[at]!,
          end: placed.rows[at]!.at(-1)! + (block.kind === 'pass' ? 0 : 1),
        }))
        blocks.sort((a, b) => a.top - b.top)
        for (let at = 1; at < blocks.length; at++) expect(blocks[at]!.top).toBeGreaterThan(blocks[at - 1]!.end)
      }),
      { numRuns: 40 },
    )
  })
})

describe('route', () => {
  it('needs no lane for straight lines', () => {
    expect(route([{ key: 'a', pins: [3], port: 3 }], 4)).toEqual({
      nets: [{ key: 'a', pins: [3], port: 3, lane: null, broken: false }],
      lanes: 0,
    })
  })

  it('uses a lane again where the one before has ended', () => {
    const channel = route(
      [
        { key: 'a', pins: [0, 2], port: 1 },
        { key: 'b', pins: [4, 6], port: 5 },
      ],
      4,
    )
    expect(channel.nets.map(({ lane }) => lane)).toEqual([0, 0])
  })

  it('orders lanes so that lines do not cross where they need not', () => {
    // Down from 0 to 5 and from 3 to 8: with a's lane on the left, b's line would cross it, and a's line to its port b's lane.
    const channel = route(
      [
        { key: 'a', pins: [0], port: 5 },
        { key: 'b', pins: [3], port: 8 },
      ],
      4,
    )
    expect(channel.nets.map(({ lane }) => lane)).toEqual([1, 0])
  })

  it('never gives one lane to two nets that overlap', () => {
    const wire = fc.record({ pins: fc.array(fc.nat(40), { minLength: 1, maxLength: 5 }), port: fc.nat(40) })
    fc.assert(
      fc.property(fc.array(wire, { maxLength: 12 }), (wires) => {
        const { nets } = route(
          wires.map((each, key) => ({ ...each, key })),
          100,
        )
        const span = (net: (typeof nets)[number]) => [Math.min(net.port, ...net.pins), Math.max(net.port, ...net.pins)] as const
        for (const a of nets)
          for (const b of nets) {
            if (a.key === b.key || a.lane === null || a.lane !== b.lane) continue
            expect(span(a)[0] > span(b)[1] || span(b)[0] > span(a)[1]).toBe(true)
          }
      }),
    )
  })
})
