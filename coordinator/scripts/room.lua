-- Shared by the scripts about participants: records, leaving, the room as read at once.
--
-- A participant's record is lines: hidden (0 or 1), edge (its signaling process), identity as JSON,
-- ParticipantInfo as JSON without tracks. A track's record is lines: participant sid, muted
-- (0 or 1), event id of its publication, TrackInfo as JSON. JSON holds no raw line feed.

local function lines(record)
  local out = {}
  for line in string.gmatch(record .. '\n', '(.-)\n') do out[#out + 1] = line end
  return out
end

-- All tracks' sids by their participant.
local function tracks_by_participant()
  local all, out = redis.call('HGETALL', TRACKS), {}
  for at = 1, #all, 2 do
    local sid = string.match(all[at + 1], '^[^\n]*')
    out[sid] = out[sid] or {}
    table.insert(out[sid], all[at])
  end
  return out
end

-- Remove one participant with its tracks and tell of it. Returns its record's lines, or nil.
local function remove(sid, reason, tracks)
  local record = redis.call('HGET', PARTICIPANTS, sid)
  if not record then return nil end
  local hidden, edge, identity = unpack(lines(record))
  redis.call('HDEL', PARTICIPANTS, sid)
  if redis.call('HGET', IDENTITIES, identity) == sid then
    redis.call('HDEL', IDENTITIES, identity)
  end
  if redis.call('HINCRBY', EDGES, edge, -1) <= 0 then redis.call('HDEL', EDGES, edge) end
  if hidden == '0' then redis.call('HINCRBY', ROOM, 'shown', -1) end
  for _, track in ipairs((tracks or tracks_by_participant())[sid] or {}) do
    redis.call('HDEL', TRACKS, track)
  end
  if redis.call('HLEN', PARTICIPANTS) == 0 then
    redis.call('HSET', ROOM, 'empty_since', whole(now_ms))
  end
  append('participant.left', '{"sid":"' .. sid .. '","identity":' .. identity
    .. ',"reason":"' .. reason .. '","hidden":' .. (hidden == '1' and 'true' or 'false') .. '}')
  return lines(record)
end

-- Remove up to `limit` participants that `concerns(lines)` selects. Returns how many, and whether
-- some are left over: a long walk must not hold up Redis, the caller comes again.
local function remove_some(limit, reason, concerns)
  local all = redis.call('HGETALL', PARTICIPANTS)
  local count, tracks = 0, tracks_by_participant()
  for at = 1, #all, 2 do
    if not concerns or concerns(lines(all[at + 1])) then
      if count >= limit then return count, true end
      remove(all[at], reason, tracks)
      count = count + 1
    end
  end
  return count, false
end

-- Everything about the room, read at once; with `brief`, without its participants and tracks.
-- nil values are ''.
local function snapshot(brief)
  local function get(key, ...)
    local values = redis.call('HMGET', key, ...)
    for at = 1, select('#', ...) do values[at] = values[at] or '' end
    return values
  end
  return {
    get(META, 'epoch', 'last'),
    get(ROOM, 'sid', 'created_at', 'settings', 'shown'),
    get(OWNER, 'node', 'fence'),
    get(BROADCAST, 'sid', 'state', 'started_at', 'url', 'directory'),
    brief and {} or redis.call('HGETALL', PARTICIPANTS),
    brief and {} or redis.call('HGETALL', TRACKS),
  }
end

-- End the broadcast, if there is one.
local function end_broadcast(reason)
  local sid = redis.call('HGET', BROADCAST, 'sid')
  if not sid then return end
  redis.call('DEL', BROADCAST)
  append('broadcast.ended', '{"sid":"' .. sid .. '","reason":"' .. reason .. '"}')
end

-- Make the room. ARGV[first...] = sid, created_at (text), settings (JSON), max participants.
local function create_room(first)
  redis.call('DEL', PARTICIPANTS, IDENTITIES, TRACKS, EDGES, BROADCAST)
  redis.call('HSET', ROOM, 'sid', ARGV[first], 'created_at', ARGV[first + 1],
    'settings', ARGV[first + 2], 'max', ARGV[first + 3], 'shown', '0',
    'empty_since', whole(now_ms))
  append('room.created', '{"sid":"' .. ARGV[first] .. '","settings":' .. ARGV[first + 2] .. '}')
  redis.call('PERSIST', META)
  redis.call('PERSIST', LEDGER)
  redis.call('PERSIST', OWNER)
end
