-- Sign-in attempts with the columns of the Events API. A convenience, not run on Athena.
-- A value of another type than the column's fails the query: the views are
-- the ones to build on.
CREATE EXTERNAL TABLE signin_attempts_typed (
  `uuid` string,
  `session_uuid` string,
  `timestamp` string,
  `category` string,
  `type` string,
  `country` string,
  `details` struct<value:string>,
  `target_user` struct<uuid:string,name:string,email:string,user_type:string,user_account_uuid:string>,
  `client` struct<app_name:string,app_version:string,platform_name:string,platform_version:string,os_name:string,os_version:string,ip_address:string>,
  `location` struct<country:string,region:string,city:string,latitude:double,longitude:double>,
  `account_uuid` string
)
PARTITIONED BY (
  `event_date` string COMMENT 'UTC day of the event, yyyy-MM-dd'
)
ROW FORMAT SERDE 'org.apache.hive.hcatalog.data.JsonSerDe'
STORED AS TEXTFILE
LOCATION 's3://<BucketName>/<KeyPrefix>signin_attempts/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.event_date.type' = 'date',
  'projection.event_date.format' = 'yyyy-MM-dd',
  'projection.event_date.interval' = '1',
  'projection.event_date.interval.unit' = 'DAYS',
  'projection.event_date.range' = 'NOW-<RetentionDays>DAYS,NOW+2DAYS',
  'storage.location.template' = 's3://<BucketName>/<KeyPrefix>signin_attempts/${event_date}/'
);
