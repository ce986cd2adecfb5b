import { describe, expect, it } from 'vitest'
import { FakeQemu } from '../node/qmp/fake-qemu.suite.ts'
import { runCommand } from './commands.suite.ts'
import { EXIT_INPUT, EXIT_OK } from './common.ts'
import { openInput } from './input.ts'
import { watchCommand } from './watch.ts'

const RAM = 0x4000_0000

/** A guest with an SMMUv3 whose stream table has two entries. */
async function guest() {
  const ram = Buffer.alloc(0x10000)
  const registers = new Map([
    [0x0, { bytes: 4 as const, value: 0x0d44_101bn }],
    [0x4, { bytes: 4 as const, value: 0x0273_0010n }],
    [0x20, { bytes: 4 as const, value: 0xdn }],
    [0x80, { bytes: 8 as const, value: BigInt(RAM + 0x1000) }],
    [0x88, { bytes: 4 as const, value: 1n }],
  ])
  const qemu = new FakeQemu({ ram, ramBase: RAM, iommu: 'arm-smmuv3', mmioBase: 0x905_0000, registers, shared: false })
  /** STE.Config of a stream: 4 is bypass, 0 abort. */
  const ste = (sid: number, config: number) => ram.writeBigUInt64LE(BigInt(1 | (config << 1)), 0x1000 + sid * 64)
  ste(0, 4)
  ste(1, 4)
  await qemu.listen()
  return { qemu, ste }
}

describe('iomm watch', () => {
  it('prints the picture once, and then what changed', async () => {
    const { qemu, ste } = await guest()
    try {
      const timer = setTimeout(() => ste(1, 0), 150)
      const { stdout, stderr, exitCode } = await runCommand(watchCommand(), [qemu.path, '--every', '0.1', '--count', '5'])
      clearTimeout(timer)
      expect(exitCode).toBe(EXIT_OK)
      expect(stderr).toContain('memory from the monitor')
      expect(stdout.match(/Stream table at 0x40001000/g)).toHaveLength(1)
      expect(stdout).toMatch(/look \d\nDevices\n {2}0x1: /)
      expect(stdout).not.toMatch(/0x0: /)
    } finally {
      await qemu.close()
    }
  })

  it('says that nothing is there', async () => {
    expect(await runCommand(watchCommand(), ['/nonexistent/qmp'])).toMatchObject({
      exitCode: EXIT_INPUT,
      stderr: expect.stringContaining('-qmp unix:'),
    })
  })
})

describe('a socket as input', () => {
  it('is a running guest, stopped only on request', async () => {
    const { qemu } = await guest()
    try {
      expect((await openInput(qemu.path)).graph().devices.map(({ id, state }) => [id, state])).toEqual([
        [0, 'bypass'],
        [1, 'bypass'],
      ])
      expect(qemu.commands).not.toContain('stop')
      await openInput(qemu.path, { stop: true })
      expect(qemu.commands.filter((line) => line === 'stop' || line === 'cont')).toEqual(['stop', 'cont'])
    } finally {
      await qemu.close()
    }
  })
})
