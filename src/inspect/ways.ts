/** Ways of devices into address spaces: by the device's own entry, by each valid entry of its PASID table, or past all tables. */
import type { DeviceNode, MachineGraph } from './graph.ts'

export interface Way {
  readonly device: DeviceNode
  /** Null: requests without PASID. */
  readonly pasid: number | null
  /** Id of the space; null: nothing is translated. */
  readonly space: string | null
}

/** All ways, device by device. What the hardware refuses, or what walks nothing, is none. */
export function* waysOf(graph: MachineGraph): Generator<Way> {
  const tables = new Map(graph.pasidTables.map((table) => [table.id, table]))
  for (const device of graph.devices) {
    const table = device.pasidTable === null ? undefined : tables.get(device.pasidTable)
    // Past stage 1: to stage 2, or to memory as it is.
    const straight = table?.over ?? null
    if (device.state === 'bypass' || table?.withoutPasid === 'bypass') yield { device, pasid: null, space: straight }
    if (device.space !== null) yield { device, pasid: null, space: device.space }
    for (const entry of table?.entries ?? []) {
      if (entry.state !== 'valid') continue
      const pasid = table!.withoutPasid === `entry ${entry.pasid}` ? null : entry.pasid
      yield { device, pasid, space: entry.space ?? straight }
      if (entry.upper) yield { device, pasid, space: entry.upper }
    }
  }
}
