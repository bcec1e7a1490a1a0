-- Shared head of every script that changes a room: the keys, the idempotency guard and the append.
-- A change and the event that tells of it are one script run, so they can never differ.
--
-- KEYS 1 meta, 2 ledger, 3 idempotency key, 4 owner, 5 room, 6 participants (sid -> record),
--      7 identities (identity -> sid), 8 tracks (sid -> record), 9 edges (process -> count),
--      10 broadcast. All carry the room's hash tag: one cluster slot.
-- ARGV 1 channel, 2 message id, 3 common envelope fields (JSON members, no braces),
--      4 ledger length, 5 ledger TTL in ms, 6 idempotency TTL in ms, 7 epoch for a new ledger;
--      the script's own arguments begin at 8.
-- Replies are lists: '+' and values, or '-', a code and a detail (a refusal: nothing was written).
local META, LEDGER, IDEM, OWNER, ROOM = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local PARTICIPANTS, IDENTITIES, TRACKS = KEYS[6], KEYS[7], KEYS[8]
local EDGES, BROADCAST = KEYS[9], KEYS[10]

local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local appended = 0

local function whole(number) return string.format('%.0f', number) end

local function refuse(code, detail) return {'-', code, detail or ''} end

-- Append one event. `data` is JSON and opaque here. Returns the entry id.
local function append(kind, data)
  local meta = redis.call('HMGET', META, 'epoch', 'last', 'seq')
  local epoch, last, seq, ms = meta[1], meta[2], 1, now_ms
  if epoch then
    seq = tonumber(meta[3]) + 1
    -- Redis' clock may step back; entry ids may not.
    local last_ms = tonumber(string.match(last, '^(%d+)'))
    if ms < last_ms then ms = last_ms end
  else
    epoch, last = ARGV[7], '0-0'
    redis.call('DEL', LEDGER)
  end
  local id = whole(ms) .. '-' .. whole(seq)
  appended = appended + 1
  local body = '{"v":1,"id":"' .. ARGV[2] .. '.' .. appended .. '","type":"' .. kind .. '",'
    .. ARGV[3] .. ',"data":' .. data .. '}'
  redis.call('HSET', META, 'epoch', epoch, 'seq', whole(seq), 'last', id)
  redis.call('XADD', LEDGER, 'MAXLEN', '~', ARGV[4], id, 'p', last, 'd', body)
  redis.call('PUBLISH', ARGV[1], id .. ' ' .. last .. ' ' .. epoch .. ' ' .. body)
  return id
end

-- The ledger of a room that is closed fades; that of an open one stays, however quiet it is.
local function fade()
  redis.call('PEXPIRE', META, ARGV[5])
  redis.call('PEXPIRE', LEDGER, ARGV[5])
  redis.call('PEXPIRE', OWNER, ARGV[5])
end

-- Run `change` unless a run with this idempotency key wrote something before: then its reply.
local function once(change)
  local done = redis.call('GET', IDEM)
  if done then return cmsgpack.unpack(done) end
  local reply = change()
  if appended > 0 then redis.call('SET', IDEM, cmsgpack.pack(reply), 'PX', ARGV[6]) end
  return reply
end

-- Does `fence` own the room? A stored owner without a node was given up.
local function owns(fence)
  local owner = redis.call('HMGET', OWNER, 'node', 'fence')
  return owner[1] and owner[2] == fence
end
